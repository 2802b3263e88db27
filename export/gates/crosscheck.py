"""Every shipped variant on every engine of this host: golden error and latency, before the bundle is
written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bedside.export.data.types import Progress
from bedside.export.reports.outcome import EngineCheck
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Model, VariantGolden
from bedside.runtime.bundle.reader import load_npy
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import Array, SessionOptions
from bedside.runtime.errors import BedsideError
from bedside.runtime.golden import label_outputs, output_error, output_scale, restored
from bedside.runtime.packing import run_samples

#: Enough for a median; percentiles further out are for `bedside bench`.
_INVOCATIONS = 40
_WARM_UP = 5
#: The thread counts that devices use most; OpenVINO gave wrong answers with one of them before.
_THREADS = (1, 2)


def cross_check(
    model: Model,
    members: Mapping[str, bytes],
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> tuple[EngineCheck, ...]:
    """Replay the goldens on every engine that is installed here, and time it.

    Args:
        model: With goldens recorded.
        members: Of the bundle, by name.
        progress: Called after every variant and engine.
        clock: For the timing.
    """
    clock = clock or MonotonicClock()
    samples = load_npy(members[model.golden.engine.input.file])
    pairs = [
        (golden, status)
        for golden in model.golden.variants
        for status in engines.statuses()
        if status.version is not None
        and (variant := model.variant(golden.variant))
        and variant.format in status.formats
    ]
    checks = []
    for done, (golden, status) in enumerate(pairs):
        named = f"{status.id} {status.version}"
        checks += [_check(model, golden, members, samples, status.id, named, n, clock) for n in _THREADS]
        if progress is not None:
            progress(done + 1, len(pairs))
    return tuple(checks)


def _check(
    model: Model,
    golden: VariantGolden,
    members: Mapping[str, bytes],
    samples: Array,
    engine: str,
    named: str,
    threads: int,
    clock: Clock,
) -> EngineCheck:
    variant = model.variant(golden.variant)
    assert variant is not None and variant.file is not None
    try:
        session = engines.compile_model(
            engine, members[variant.file], variant.format, SessionOptions(threads=threads)
        )
        try:
            outputs = run_samples(session, samples, variant.outputs)
            spent = []
            for i in range(_WARM_UP + _INVOCATIONS):
                session.input()[0] = samples[i % len(samples)]
                before = clock.now_ns()
                session.invoke()
                spent.append(clock.now_ns() - before)
        finally:
            session.close()
    except BedsideError as error:
        return EngineCheck(golden.variant, named, threads, None, golden.tolerance, None, 0, str(error))
    wanted = [
        restored(load_npy(members[ref.file]), spec)
        for ref, spec in zip(golden.outputs, variant.outputs, strict=True)
    ]
    labels = label_outputs(model.decode, variant.outputs)
    rows = zip(outputs, wanted, labels, variant.outputs, strict=True)
    error_size = max(
        output_error(o, w, labels=is_label, scale=output_scale(w, spec)) for o, w, is_label, spec in rows
    )
    invoke_ms = float(np.median(spent[_WARM_UP:])) / 1e6
    return EngineCheck(golden.variant, named, threads, error_size, golden.tolerance, invoke_ms, _INVOCATIONS)


def disagreements(checks: tuple[EngineCheck, ...]) -> tuple[str, ...]:
    """One note per variant and engine that a device would refuse."""
    notes = []
    for c in checks:
        if c.failed is not None:
            notes.append(f"{c.variant} does not run on {c.engine} with {c.threads} thread(s): {c.failed}")
        elif not c.passed:
            notes.append(
                f"{c.variant} on {c.engine} with {c.threads} thread(s) differs from its golden answers by "
                f"{c.error:.3g}, "
                f"{c.tolerance:.3g} is allowed: a device with that engine will refuse it there and use "
                "another"
            )
    return tuple(notes)
