"""What a stream is, as plain data."""

from __future__ import annotations

import msgspec

from bedside.devices.profiles import LadderSection, TrustSection
from bedside.devices.sources.options import CaptureOptions
from bedside.runtime.geometry import Rect
from bedside.runtime.stream.mailbox import Policy


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
        threads: Of the engine; None for what was measured here, else the host's default.
        threads_fixed: False where `threads` is the profile's: then a measured choice may take fewer.
        hint: Precision hint of the engine.
        roi: Region of interest in captured-frame pixels.
        masks: Rectangles to blank, in captured-frame pixels.
        max_age_ms: Older results of a live stream are withheld.
        memory_mb: What the process may take, in 10^6 bytes; None for no limit.
        ladder: What a live stream does under stress.
        trust: Which bundles may run.
        top_k: Classes per result.
        smoothing: Weight of the newest frame in exponential smoothing of scores; None for none.
        paced: Play a recording at its own cadence.
        pace_fps: Play it at this many frames per second.
        jitter_ms: How late a real device hands its frames over, see `bedside.devices.sources.pacing`.
        loop: Begin again at the end of a recording.
        max_frames: Stop after so many captured frames.
        seconds: Stop after so long.
        capture: For cameras and streams.
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
    threads_fixed: bool = True
    hint: str | None = None
    roi: Rect | None = None
    masks: tuple[Rect, ...] = ()
    max_age_ms: float | None = None
    memory_mb: int | None = None
    ladder: LadderSection = LadderSection()
    trust: TrustSection = TrustSection()
    top_k: int = 3
    smoothing: float | None = None
    paced: bool = False
    pace_fps: float | None = None
    jitter_ms: float = 0.0
    loop: bool = False
    max_frames: int | None = None
    seconds: float | None = None
    capture: CaptureOptions = CaptureOptions()
