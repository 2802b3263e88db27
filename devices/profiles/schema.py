"""The schema of a device profile. Everything has a default that leaves the choice to the host or to the
source."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.devices.sources.options import CaptureOptions
from bedside.runtime.geometry import Rect

Line = Annotated[str, Meta(min_length=1, max_length=200)]
Engine = Literal["litert", "tflite", "onnxruntime", "openvino"]
#: Numbers of logical processors, as the system counts them.
Cores = Annotated[tuple[Annotated[int, Meta(ge=0, le=4095)], ...], Meta(max_length=256)]

_LARGEST = 16384


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses unknown keys."""


class CaptureSection(CaptureOptions, frozen=True, kw_only=True):
    """Where frames come from, and what is asked of it.

    Attributes:
        source: URI, used where the command line names none.
        policy: `latest` lets a new frame replace a waiting one, `all` makes the source wait; None goes by the
            source.
    """

    source: Line | None = None
    policy: Literal["latest", "all"] | None = None


class ScreenSection(_Strict, frozen=True):
    """What of the picture the model may see.

    Attributes:
        roi: `[x, y, width, height]` of the region of interest in captured-frame pixels; None is the whole
            picture.
        masks: Rectangles of the same form that are blanked first: names, dates, buttons.
    """

    roi: Rect | None = None
    masks: Annotated[tuple[Rect, ...], Meta(max_length=64)] = ()


class BudgetSection(_Strict, frozen=True):
    """What a result may cost.

    Attributes:
        max_age_ms: On a live stream, older results are withheld; None for no limit.
        memory_mb: What the process may take, in 10^6 bytes; None for no limit. A stream whose preferred variant
            takes more is refused, further rungs of the ladder that would are left out.
        p99_age_ms: 99th percentile of the age of results; None for `max_age_ms`. This and the keys below change
            nothing in a run, `bedside bench --budget` checks them.
        p95_invoke_ms: 95th percentile of what the engine takes for a frame.
        lost_percent: Frames without a result.
        cold_start_s: From the start of the process to the first result.
        cpu_percent: Processor use at the device's frame rate, in percent of one core.
        idle_cpu_percent: The same with one frame per second.
    """

    max_age_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    memory_mb: Annotated[int, Meta(ge=64, le=1_048_576)] | None = None
    p99_age_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    p95_invoke_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    lost_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    cold_start_s: Annotated[float, Meta(gt=0, le=600)] | None = None
    cpu_percent: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    idle_cpu_percent: Annotated[float, Meta(gt=0, le=100_000)] | None = None


class EngineSection(_Strict, frozen=True):
    """What the model may run on. Once `bedside tune` has measured this host, the fastest of it is taken.

    Attributes:
        preference: Engines, best first; those that are not installed are passed over, and the one that runs
            is named in every result. A measured choice is one of them, whatever its place; none named is all.
        threads: Of the engine; a measured choice has so many at most. None for as many as the host carries.
        variant: Id of the variant to run; None for the bundle's default.
        hint: Precision hint for an engine that takes one.
    """

    preference: Annotated[tuple[Engine, ...], Meta(max_length=4)] = ()
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    variant: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] | None = None
    hint: Literal["f32", "bf16", "f16"] | None = None


class TaskSection(_Strict, frozen=True):
    """How outputs are read.

    Attributes:
        top_k: Classes per result.
        smoothing: Weight of the newest frame in exponential smoothing of scores over time; None for none.
    """

    top_k: Annotated[int, Meta(ge=1, le=1000)] = 3
    smoothing: Annotated[float, Meta(gt=0, le=1)] | None = None


class HostSection(_Strict, frozen=True):
    """How the host is set up for the stream. What it refuses is reported, and nothing ends because of it.

    Attributes:
        inference_cores: Where the engine runs, with preprocessing and decoding; none named is all.
        capture_cores: Where frames are captured and decoded.
        sink_cores: Where results are drawn, encoded and written.
        opencv_threads: Of OpenCV's own parallel loops; None leaves it to OpenCV.
        real_time: Scheduling of the capture and inference threads: first in first out, or round robin; None for
            the system's ordinary one.
        priority: Of inference under `real_time`; capture has one more. Linux runs its interrupt threads at 50,
            and a camera's driver has to go before those who wait for it.
        nice: Of the same threads where they are not real-time; None is -10 where `real_time` was refused, and
            otherwise leaves it as it is.
        lock_memory: Keep every page that was touched from being written out to a disk.
        collection: `idle` collects Python's cyclic garbage between frames, `automatic` whenever Python likes.
    """

    inference_cores: Cores = ()
    capture_cores: Cores = ()
    sink_cores: Cores = ()
    opencv_threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    real_time: Literal["fifo", "rr"] | None = None
    priority: Annotated[int, Meta(ge=1, le=48)] = 20
    nice: Annotated[int, Meta(ge=-20, le=19)] | None = None
    lock_memory: bool = False
    collection: Literal["idle", "automatic"] = "idle"


class LadderSection(_Strict, frozen=True):
    """What a live stream does when deadlines are missed, or the host is hot or busy: it steps down to a cheaper
    variant that passed its gate, at last to every n-th frame, and climbs back; see
    `bedside.runtime.stream.control`.

    Attributes:
        enabled: Whether it does. Every further variant is loaded before the stream starts, within
            `budget.memory_mb`.
        rungs: Variants that are loaded at most, the preferred one included.
        every: Further rungs below the cheapest variant, which work on every n-th frame only.
        up_s: Calm before a climb, in s.
        up_most_s: The same after climbs that failed, which double it.
        max_celsius: Limit of the processor's temperature; None for the one that its sensors state.
        busy_percent: Limit of the time in which something waits for a processor; 100 for no limit.
    """

    enabled: bool = False
    rungs: Annotated[int, Meta(ge=1, le=8)] = 3
    every: Annotated[tuple[Annotated[int, Meta(ge=2, le=16)], ...], Meta(max_length=4)] = (2,)
    up_s: Annotated[float, Meta(ge=1, le=3600)] = 5.0
    up_most_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    max_celsius: Annotated[float, Meta(ge=30, le=125)] | None = None
    busy_percent: Annotated[float, Meta(ge=5, le=100)] = 60.0


class TrustSection(_Strict, frozen=True):
    """Which bundles the device may run; see `bedside.devices.trust.verdict`.

    Attributes:
        require_signature: Refuse a bundle unless keys of the trust store have signed it.
        signatures: How many of them, at least.
        store: Folder of the trust store; None for the user's.
    """

    require_signature: bool = False
    signatures: Annotated[int, Meta(ge=1, le=16)] = 1
    store: Line | None = None


class Profile(_Strict, frozen=True):
    """A device.

    Attributes:
        name: Of the profile.
        description: For `bedside probe` and reports.
        capture: Where frames come from.
        screen: What of the picture the model may see.
        budget: What a result may cost.
        engine: What the model runs on.
        task: How outputs are read.
        host: How the host is set up.
        ladder: What a live stream does under stress.
        trust: Which bundles may run.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    description: Annotated[str, Meta(max_length=1000)] = ""
    capture: CaptureSection = CaptureSection()
    screen: ScreenSection = ScreenSection()
    budget: BudgetSection = BudgetSection()
    engine: EngineSection = EngineSection()
    task: TaskSection = TaskSection()
    host: HostSection = HostSection()
    ladder: LadderSection = LadderSection()
    trust: TrustSection = TrustSection()


def check(profile: Profile) -> None:
    """Check what types alone cannot.

    Raises:
        ValueError: One line that begins with the key.
    """
    capture, screen, engine = profile.capture, profile.screen, profile.engine
    if (capture.width is None) != (capture.height is None):
        missing = "height" if capture.height is None else "width"
        raise ValueError(f"capture.{missing}: width and height come together")
    named = [("screen.roi", screen.roi)] if screen.roi is not None else []
    named += [(f"screen.masks[{i}]", mask) for i, mask in enumerate(screen.masks)]
    for key, rect in named:
        shown = f"{key}: [{rect.x}, {rect.y}, {rect.width}, {rect.height}]"
        if rect.x < 0 or rect.y < 0 or rect.width < 1 or rect.height < 1:
            raise ValueError(f"{shown} is not [x, y, width, height] with x, y >= 0 and width, height >= 1")
        width, height = capture.width or _LARGEST, capture.height or _LARGEST
        if not rect.inside(width, height):
            raise ValueError(f"{shown} does not lie in a picture of {width} x {height} pixels")
    if len(set(engine.preference)) != len(engine.preference):
        raise ValueError(f"engine.preference: an engine appears twice in {list(engine.preference)}")
    ladder = profile.ladder
    if list(ladder.every) != sorted(set(ladder.every)):
        raise ValueError(f"ladder.every: {list(ladder.every)} does not rise")
    if ladder.up_most_s < ladder.up_s:
        raise ValueError(f"ladder.up_most_s: {ladder.up_most_s:g} is less than up_s, {ladder.up_s:g}")
    for key in ("inference_cores", "capture_cores", "sink_cores"):
        cores = getattr(profile.host, key)
        if len(set(cores)) != len(cores):
            raise ValueError(f"host.{key}: a core appears twice in {list(cores)}")
    trust = profile.trust
    if trust.signatures > 1 and not trust.require_signature:
        raise ValueError(f"trust.signatures: {trust.signatures}, but require_signature is false")
