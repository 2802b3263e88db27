"""Whether a variant is faster than fp32, on the host that made it.

Two sessions take turns, in the order ABBA, so that a host that slows down or speeds up meanwhile does so for
both. On shared machines ten pairs of identical code spanned ratios of 0.90 to 1.16; hence at least 20 pairs, and
a claim only where the whole 95 % interval of the ratio lies on one side of 1.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bedside.export.convert.artifact import Artifact
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import HostSpeed
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import Session, SessionOptions

#: Fewest pairs that a claim may rest on.
MIN_ROUNDS = 20
#: A measurement lasts at least this long: shorter ones measure the clock.
_MIN_NS = 2_000_000
_WARM_UP = 3
_RESAMPLES = 2000


def host_speed(
    artifact: Artifact,
    reference: Artifact,
    clock: Clock | None = None,
    *,
    threads: int = 1,
    rounds: int = 24,
) -> HostSpeed:
    """Invocation times of two files of one format, measured in turns on the format's own engine.

    Args:
        artifact: The variant.
        reference: What it is compared with, usually the fp32 variant of the format.
        clock: To measure with; None for the host's.
        threads: Of the engine.
        rounds: Pairs, at least `MIN_ROUNDS`.

    Raises:
        ValueError: The formats differ, or there are too few rounds.
        EngineError: A file does not run.
    """
    if artifact.format != reference.format:
        raise ValueError(f"{artifact.id} and {reference.id} are no files of one format")
    if rounds < MIN_ROUNDS:
        raise ValueError(f"{rounds} rounds, expected at least {MIN_ROUNDS}")
    clock = clock or MonotonicClock()
    engine = engines.preference(artifact.format)[0]
    sessions: list[Session] = []
    try:
        for one in (artifact, reference):
            session = engines.compile_model(engine, one.data, one.format, SessionOptions(threads=threads))
            sessions.append(session)
        times = _in_turns(sessions[0], sessions[1], rounds, clock)
    finally:
        for session in sessions:
            session.close()
    low, high = ratio_interval(times[:, 0], times[:, 1])
    invoke, compared = (float(np.median(column)) / 1e6 for column in times.T)
    return HostSpeed(
        host=host(engine),
        threads=threads,
        invoke_ms=invoke,
        reference_ms=compared,
        faster=True if high < 1.0 else False if low > 1.0 else None,
    )


def ratio_interval(times: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the median ratio of paired times: percentile bootstrap over pairs, of log ratios.

    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; on logs, so that a ratio and its
    inverse weigh the same.

    Args:
        times: `(N,)`, any unit.
        reference: `(N,)`, the same unit, measured next to them.
    """
    logs = np.log(times / reference)
    chosen = np.random.default_rng(0).integers(0, len(logs), (_RESAMPLES, len(logs)))
    low, high = np.percentile(np.median(logs[chosen], axis=1), [2.5, 97.5])
    return math.exp(low), math.exp(high)


def host(engine: str) -> str:
    """Processor and engine in words; never the machine's name."""
    return f"{_processor()}; {engine} {engines.status(engine).version}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _in_turns(first: Session, second: Session, rounds: int, clock: Clock) -> npt.NDArray[np.float64]:
    """`(rounds, 2)` times of one invocation in ns: AB, BA, AB, ..."""
    pair = (first, second)
    for session in pair:
        # Middle grey, as one input for both: no engine's time depends on pixels, denormals aside.
        buffer = session.input()
        buffer[...] = 128 if np.issubdtype(buffer.dtype, np.integer) else 0.5
        del buffer
        for _ in range(_WARM_UP):
            session.invoke()
    repeats = [max(1, math.ceil(_MIN_NS / max(1, _time(session, 1, clock)))) for session in pair]
    times = np.empty((rounds, 2), np.float64)
    for i in range(rounds):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            times[i, which] = max(1, _time(pair[which], repeats[which], clock)) / repeats[which]
    return times


def _time(session: Session, repeats: int, clock: Clock) -> int:
    start = clock.now_ns()
    for _ in range(repeats):
        session.invoke()
    return clock.now_ns() - start
