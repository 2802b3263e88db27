"""The composition root: from plain data to a running pipeline, in this process or in a child."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.sinks import make_sink
from bedside.devices.sources import Looped, Paced, open_source
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.uri import parse_uri
from bedside.devices.starters import resolve
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Variant
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import UsageError
from bedside.runtime.geometry import Rect
from bedside.runtime.latent import make_preprocess
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.protocols import Sink, Source
from bedside.runtime.result import Result
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.mailbox import Policy
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity, StreamLimits, StreamSummary
from bedside.runtime.tasks import make_task


class PipelineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that `bedside run` needs to know, as plain data.

    Attributes:
        bundle: Path, or the name of a starter bundle.
        source: URI, see `bedside.devices.sources`.
        sinks: URIs, see `bedside.devices.sinks`.
        stream: Name of the stream in results.
        policy: None chooses by the source.
        engine: None for the first of `engine_preference` that is here and runs the variant's format.
        engine_preference: In order.
        variant: None for the bundle's default.
        threads: Of the engine; None for the host's default.
        hint: Precision hint of the engine.
        roi: Region of interest in captured-frame pixels.
        masks: Rectangles to blank, in captured-frame pixels.
        max_age_ms: Older results of a live stream are withheld.
        top_k: Classes per result.
        smoothing: Weight of the newest frame in exponential smoothing of scores; None for none.
        paced: Play a recording at its own cadence.
        loop: Begin again at the end of a recording.
        max_frames: Stop after so many captured frames.
        seconds: Stop after so long.
        capture: For cameras.
    """

    bundle: str
    source: str
    sinks: tuple[str, ...] = ()
    stream: str = "main"
    policy: Policy | None = None
    engine: str | None = None
    engine_preference: tuple[str, ...] = ()
    variant: str | None = None
    threads: int | None = None
    hint: str | None = None
    roi: Rect | None = None
    masks: tuple[Rect, ...] = ()
    max_age_ms: float | None = None
    top_k: int = 3
    smoothing: float | None = None
    paced: bool = False
    loop: bool = False
    max_frames: int | None = None
    seconds: float | None = None
    capture: CaptureOptions = CaptureOptions()


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
    taken = {_real(resolve(spec.bundle)): "the bundle"}
    if source.scheme == "path":
        taken.setdefault(_real(Path(source.target)), "the source")
    for uri in spec.sinks:
        scheme, _, rest = uri.partition(":")
        path = _real(Path(rest))
        # Two sinks may share a device, such as /dev/null.
        if scheme == "null" or (path.exists() and not path.is_file()):
            continue
        if path in taken:
            hint = "give every sink a file of its own"
            raise UsageError(f"would write over {taken[path]}", where=f"sink {uri!r}", hint=hint)
        taken[path] = f"the sink {uri!r}"


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path.expanduser()))
    except (RuntimeError, ValueError):  # no such user, a NUL character: whoever opens it says so
        return path


def load(bundle: Bundle, spec: PipelineSpec) -> Loaded:
    """Compile what `spec` asks for and replay its goldens.

    Raises:
        EngineError: The engine is absent, refuses the file, or answers goldens wrongly.
        BundleError: The variant is not in the bundle, or damaged.
    """
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
    here = {s.id for s in engines.statuses() if s.available and variant.format in s.formats}
    return next((e for e in spec.engine_preference if e in here), None)


def build_source(spec: PipelineSpec, clock: Clock) -> Source:
    """The source with its pacing and looping around it."""
    source = open_source(spec.source, clock=clock, capture=spec.capture)
    if spec.loop:
        source = Looped(source)
    return Paced(source, clock) if spec.paced else source


class Stream:
    """A pipeline with everything it stands on, built from plain data.

    Args:
        spec: What to build.
        sinks: Further sinks, beside those of the spec.
        clock: For stamps and pacing.
        on_result: For progress.

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
    ) -> None:
        clock = clock or MonotonicClock()
        self.spec = spec
        made = [make_sink(uri) for uri in spec.sinks]
        source = build_source(spec, clock)
        check_outputs(spec)
        with open_bundle(resolve(spec.bundle)) as bundle:
            self.manifest = bundle.manifest
            self.digest = bundle.digest
            self.loaded = load(bundle, spec)
            try:
                self.guard = load_guard(bundle, spec, self.loaded)
            except BaseException:
                self.loaded.session.close()
                raise
        model = self.loaded.model
        try:
            self.pipeline = Pipeline(
                source,
                self.loaded,
                make_preprocess(model.input, roi=spec.roi, masks=spec.masks),
                make_task(model.decode, top_k=spec.top_k, smoothing=spec.smoothing),
                [*made, *sinks],
                StreamIdentity(
                    session=secrets.token_hex(8),
                    stream=spec.stream,
                    boot=boot_id(),
                    task=self.manifest.task,
                    bundle=self.digest,
                ),
                guard=self.guard,
                policy=spec.policy,
                limits=StreamLimits(spec.max_frames, spec.seconds, spec.max_age_ms),
                clock=clock,
                on_result=on_result,
            )
        except BaseException:
            self._close()
            raise

    def run(self) -> StreamSummary:
        """Run to the end and free the engines."""
        try:
            return self.pipeline.run()
        finally:
            self._close()

    def _close(self) -> None:
        self.loaded.session.close()
        if self.guard is not None:
            self.guard.close()

    def summary(self, ended: StreamSummary) -> dict[str, Any]:
        """The object that `bedside run --json` ends with."""
        session, variant = self.loaded.session, self.loaded.variant
        latency = self.pipeline.latency.summary()
        # Not what the ledger says: a frame that is withheld as not finite has no latency worth a percentile.
        samples = self.pipeline.latency.count
        version = next((s.version for s in engines.statuses() if s.id == session.engine), None)
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
            "fps": None if ended.fps is None else round(ended.fps, 3),
            "elapsed_s": round(ended.elapsed_s, 6),
            "samples": samples,
            "source": msgspec.to_builtins(ended.info) if ended.info is not None else None,
            "sinks": [s.to_dict() for s in ended.sinks],
            "error": str(ended.error) if ended.error is not None else None,
        }
        if self.guard is not None:
            plain["guard"] = self.guard.describe()
        return plain
