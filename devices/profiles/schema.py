"""The schema of a device profile. Everything has a default that leaves the choice to the host or to the
source."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.geometry import Rect

Line = Annotated[str, Meta(min_length=1, max_length=200)]
Pixels = Annotated[int, Meta(ge=16, le=16384)]
Engine = Literal["litert", "tflite", "onnxruntime", "openvino"]

_LARGEST = 16384


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses unknown keys."""


class CaptureSection(_Strict, frozen=True):
    """Where frames come from.

    Attributes:
        source: URI, used where the command line names none.
        width: Asked of the camera, in pixels; None leaves it to the driver, as below.
        height: Asked of the camera, in pixels.
        fps: Asked of the camera, in frames per second.
        fourcc: Asked of the camera: a four-character pixel format.
        buffers: Frames that the driver may hold back; fewer are younger.
        adopt_size: Whether a picture that changes its size in mid-stream is adopted instead of refused.
        policy: `latest` lets a new frame replace a waiting one, `all` makes the source wait; None goes by the
            source.
    """

    source: Line | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    fourcc: Annotated[str, Meta(pattern=r"^[\x21-\x7e][\x20-\x7e]{3}$")] | None = None
    buffers: Annotated[int, Meta(ge=1, le=32)] | None = None
    adopt_size: bool = False
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
        memory_mb: What the process may take, in 10^6 bytes; None for no limit.
    """

    max_age_ms: Annotated[float, Meta(gt=0, le=60_000)] | None = None
    memory_mb: Annotated[int, Meta(ge=64, le=1_048_576)] | None = None


class EngineSection(_Strict, frozen=True):
    """What the model runs on, until `bedside tune` has measured it.

    Attributes:
        preference: Engines, best first; those that are not installed are passed over, and the one that runs
            is named in every result.
        threads: Of the engine; None for as many as the host carries.
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
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    description: Annotated[str, Meta(max_length=1000)] = ""
    capture: CaptureSection = CaptureSection()
    screen: ScreenSection = ScreenSection()
    budget: BudgetSection = BudgetSection()
    engine: EngineSection = EngineSection()
    task: TaskSection = TaskSection()


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
