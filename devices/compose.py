"""The composition root: from plain data to a running pipeline, in this process or in a child."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.host.grants import Role
from bedside.devices.host.threads import AnnouncedSink, AnnouncedSource
from bedside.devices.pressure import HostWatch
from bedside.devices.rungs import MemoryBudget, Rungs, check_first, open_first, open_rungs, plan
from bedside.devices.sinks import make_sink
from bedside.devices.sources import Looped, Paced, open_source
from bedside.devices.sources.uri import parse_uri
from bedside.devices.spec import PipelineSpec
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import open_trusted
from bedside.devices.trust.logged import Logged
from bedside.devices.tuning import Choice, Limits, choose
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Variant
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import UsageError
from bedside.runtime.latent import make_preprocess
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.protocols import Sink, Source
from bedside.runtime.result import Result
from bedside.runtime.stream.control import LadderSettings
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.ladder import Ladder, Step
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity, StreamLimits, StreamSummary
from bedside.runtime.stream.trace import Trace
from bedside.runtime.tasks import make_task

__all__ = [
    "PipelineSpec",
    "Stream",
    "boot_id",
    "build_source",
    "check_outputs",
    "expects_live",
    "limits_of",
    "load",
    "load_guard",
    "real_path",
]

#: Sources that are recordings, unless they are played at a pace.
_RECORDINGS = frozenset({"path", "sample", "synthetic"})

#: Buffers of captured frames that a stream fills when it runs: a pool, and what its sinks hold.
_FRAMES = 8


def boot_id() -> str:
    """Id of this boot, which monotonic stamps belong to; random where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)


def check_outputs(spec: PipelineSpec) -> None:
    """Refuse to write over what is read, or twice over the same file.

    Raises:
        UsageError: A sink has the file of the bundle, of the source, or of another sink.
    """
    source = parse_uri(spec.source)
    taken = {real_path(resolve(spec.bundle)): "the bundle"}
    if source.scheme == "path":
        taken.setdefault(real_path(Path(source.target)), "the source")
    for uri in spec.sinks:
        scheme, _, rest = uri.partition(":")
        path = real_path(Path(rest))
        # Two sinks may share a device, such as /dev/null.
        if scheme == "null" or (path.exists() and not path.is_file()):
            continue
        if path in taken:
            hint = "give every sink a file of its own"
            raise UsageError(f"would write over {taken[path]}", where=f"sink {uri!r}", hint=hint)
        taken[path] = f"the sink {uri!r}"


def real_path(path: Path) -> Path:
    """Where a path leads, links followed; as it is where that cannot be said."""
    try:
        return Path(os.path.realpath(path.expanduser()))
    except (RuntimeError, ValueError):  # no such user, a NUL character: whoever opens it says so
        return path


def limits_of(spec: PipelineSpec) -> Limits:
    """What `spec` leaves open to a measured choice; see `bedside.devices.tuning`."""
    return Limits(
        variant=spec.variant,
        engine=spec.engine,
        engines=() if spec.engine else spec.engine_preference,
        threads=spec.threads if spec.threads_fixed else None,
        most_threads=None if spec.threads_fixed else spec.threads,
        hint=spec.hint,
    )


def load(bundle: Bundle, spec: PipelineSpec, choice: Choice | None = None) -> Loaded:
    """Compile what `spec` asks for and replay its goldens.

    Args:
        bundle: Open.
        spec: What is asked for.
        choice: What was measured here, within the limits of `spec`; None looks it up.

    Raises:
        EngineError: The engine is absent, refuses the file, or answers goldens wrongly.
        BundleError: The variant is not in the bundle, or damaged.
    """
    found = (choice or choose(bundle, limits_of(spec))).candidate
    if found is not None:
        options = SessionOptions(threads=found.threads, hint=found.hint)
        return open_session(bundle, variant=found.variant, engine=found.engine, options=options)
    options = SessionOptions(threads=spec.threads or engines.default_threads(), hint=spec.hint)
    model = bundle.manifest.main
    engine = spec.engine or _preferred(model.variant(spec.variant or model.default), spec)
    return open_session(bundle, variant=spec.variant, engine=engine, options=options)


def load_guard(bundle: Bundle, spec: PipelineSpec, main: Loaded) -> Guard | None:
    """The guard of a bundle that has one, its own default variant on the engine that `spec` asks for.

    There is no way to leave it out: whoever built the bundle says what its model must not judge.

    Args:
        bundle: Open.
        spec: What is asked for.
        main: The main model; its precision hint holds for the guard where both run on one engine.

    Raises:
        EngineError: The engine is absent, refuses the file, or answers goldens wrongly.
        BundleError: A member is damaged.
    """
    model = bundle.manifest.models.get("guard")
    if model is None:
        return None
    default = model.variant(model.default)
    engine = spec.engine or _preferred(default, spec)
    hint = spec.hint if engine == main.session.engine else None
    options = SessionOptions(threads=main.session.options.threads, hint=hint)
    loaded = open_session(bundle, role="guard", engine=engine, options=options)
    try:
        sees = bundle.manifest.guard_sees
        if sees == "input":  # region of interest and masks have been at work there
            return Guard(loaded, make_preprocess(model.input), sees)
        return Guard(loaded, make_preprocess(model.input, roi=spec.roi, masks=spec.masks), sees)
    except BaseException:
        loaded.session.close()
        raise


def _preferred(variant: Variant | None, spec: PipelineSpec) -> str | None:
    """The first preferred engine that is here and reads a variant's format; None for the format's default."""
    if variant is None:
        return None
    # In order, and no further than to the first: asking an engine imports it, which costs time and memory.
    readers = (e for e in spec.engine_preference if e in engines.preference(variant.format))
    return next((e for e in readers if engines.status(e).available), None)


def build_source(spec: PipelineSpec, clock: Clock) -> Source:
    """The source with its pacing and looping around it."""
    source = open_source(spec.source, clock=clock, capture=spec.capture)
    if spec.loop:
        source = Looped(source)
    if spec.paced or spec.pace_fps is not None:
        return Paced(source, clock, spec.pace_fps, jitter_ms=spec.jitter_ms)
    if spec.jitter_ms:
        raise UsageError("jitter is for paced playback", hint="add --paced, or --pace FPS")
    return source


def expects_live(spec: PipelineSpec) -> bool:
    """Whether the newest frame counts, as far as can be said before the source is open."""
    if spec.policy is not None:
        return spec.policy == "latest"
    return spec.paced or spec.pace_fps is not None or parse_uri(spec.source).scheme not in _RECORDINGS


def _budget(spec: PipelineSpec) -> MemoryBudget:
    """What the process may take, frames of the size that was asked for, else of 1080p, held back."""
    capture = spec.capture
    return MemoryBudget(spec.memory_mb, _FRAMES * (capture.width or 1920) * (capture.height or 1080) * 3)


class Stream:
    """A pipeline with everything it stands on, built from plain data.

    Args:
        spec: What to build.
        sinks: Further sinks, beside those of the spec.
        clock: For stamps and pacing.
        on_result: For progress.
        trace: Records where the time of every frame goes.
        on_thread: Called on each thread that the pipeline makes when it begins, with what it does.
        on_step: Called with every step of the ladder, on the inference thread; must be quick.

    Attributes:
        loaded: The preferred model, with which the stream begins.
        guard: Where the bundle has one; the same on all rungs.
        rungs: What may run, what it took to load, and what was left out.
        pipeline: Not run yet.
        trust: Who vouches for the bundle.

    Raises:
        BedsideError: Something named in the spec is missing or refused; nothing stays open.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        *,
        sinks: Sequence[Sink] = (),
        clock: Clock | None = None,
        on_result: Callable[[Result], None] | None = None,
        trace: Trace | None = None,
        on_thread: Callable[[Role], None] | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        clock = clock or MonotonicClock()
        self.spec = spec
        self._clock = clock
        self._began_ns = clock.now_ns()
        self._watch: HostWatch | None = None
        made = [*(make_sink(uri) for uri in spec.sinks), *sinks]
        source = build_source(spec, clock)
        if on_thread is not None:
            source = AnnouncedSource(source, partial(on_thread, "capture"))
            made = [AnnouncedSink(sink, partial(on_thread, "sink")) for sink in made]
        check_outputs(spec)
        with ExitStack() as opened:
            with open_trusted(resolve(spec.bundle), spec.trust, audit=Logged()) as opening:
                bundle, self.trust = opening
                self.manifest = bundle.manifest
                self.digest = bundle.digest
                self.choice = choose(bundle, limits_of(spec))
                self.rungs = self._load(bundle, opened)
            self.loaded = self.rungs.rungs[0].loaded
            model = self.loaded.model
            self.pipeline = Pipeline(
                source,
                self.loaded,
                make_preprocess(model.input, roi=spec.roi, masks=spec.masks),
                make_task(model.decode, top_k=spec.top_k, smoothing=spec.smoothing),
                made,
                StreamIdentity(
                    session=secrets.token_hex(8),
                    stream=spec.stream,
                    boot=boot_id(),
                    task=self.manifest.task,
                    bundle=self.digest,
                ),
                guard=self.guard,
                ladder=self._ladder(on_step, on_thread),
                policy=spec.policy,
                limits=StreamLimits(spec.max_frames, spec.seconds, spec.max_age_ms),
                clock=clock,
                on_result=on_result,
                trace=trace,
            )
            self._opened = opened.pop_all()

    def _load(self, bundle: Bundle, opened: ExitStack) -> Rungs:
        """The preferred model, the guard, and further rungs of a live stream whose profile has a ladder."""
        spec, budget = self.spec, _budget(self.spec)
        first = open_first(lambda: load(bundle, spec, self.choice), self.choice, budget, self._clock)
        opened.callback(first.close)
        loaded = first.rungs[0].loaded
        self.guard = load_guard(bundle, spec, loaded)
        if self.guard is not None:
            opened.callback(self.guard.close)
        check_first(budget, loaded)
        if not (spec.ladder.enabled and expects_live(spec)):
            return first
        planned = plan(bundle, loaded, limits_of(spec), self.choice.ranking)
        rungs = open_rungs(bundle, first, planned, spec.ladder, budget, clock=self._clock)
        opened.callback(rungs.close)
        return rungs

    def _ladder(
        self, on_step: Callable[[Step], None] | None, on_thread: Callable[[Role], None] | None
    ) -> Ladder:
        section, rungs = self.spec.ladder, self.rungs.rungs
        if len(rungs) == 1:
            return Ladder(rungs)
        self._watch = HostWatch(
            max_celsius=section.max_celsius,
            busy_percent=section.busy_percent,
            clock=self._clock,
            # It waits for nobody, and nobody waits for it: as a sink.
            begin=None if on_thread is None else partial(on_thread, "sink"),
        )
        settings = LadderSettings(up_s=section.up_s, up_most_s=section.up_most_s)
        return Ladder(rungs, settings=settings, pressure=self._watch.pressure, on_step=on_step)

    def run(self) -> StreamSummary:
        """Run to the end and free the engines."""
        self._began_ns = self._clock.now_ns()
        with self._opened as opened:
            if self._watch is not None:
                self._watch.start()
                opened.callback(self._watch.stop)
            return self.pipeline.run()

    def close(self) -> None:
        """Free the engines of a stream that is not run. May be called more than once."""
        self._opened.close()

    def stop(self) -> None:
        """End the stream soon. Any thread may call it."""
        self.pipeline.stop()

    def summary(self, ended: StreamSummary) -> dict[str, Any]:
        """The object that `bedside run --json` ends with."""
        session, variant = self.loaded.session, self.loaded.variant
        latency = self.pipeline.latency.summary()
        # Not what the ledger says: a frame that is withheld as not finite has no latency worth a percentile.
        samples = self.pipeline.latency.count
        version = engines.status(session.engine).version
        plain: dict[str, Any] = {
            "ledger": ended.ledger.to_dict(),
            "latency_ms": latency,
            "bundle": self.digest,
            "name": self.manifest.name,
            "version": self.manifest.version,
            "variant": variant.id,
            "precision": variant.precision,
            "engine": session.engine,
            "engine_version": version,
            "hint": session.options.hint,
            "threads": session.options.threads,
            "choice": self.choice.why,
            "fps": None if ended.fps is None else round(ended.fps, 3),
            "elapsed_s": round(ended.elapsed_s, 6),
            "samples": samples,
            "source": msgspec.to_builtins(ended.info) if ended.info is not None else None,
            "sinks": [s.to_dict() for s in ended.sinks],
            "error": str(ended.error) if ended.error is not None else None,
        }
        if self.guard is not None:
            plain["guard"] = self.guard.describe()
        if self._watch is not None:
            plain["ladder"] = {
                **self.pipeline.ladder.summary(self._began_ns),
                **self.rungs.describe(),
                "host": self._watch.describe(),
            }
        return plain
