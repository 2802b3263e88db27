"""What a decoder is told of a frame, for tests of decoders."""

from __future__ import annotations

from bedside.runtime.engines.protocol import Array
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.tasks import View


def make_view(
    size: tuple[int, int] = (16, 16),
    *,
    frame: tuple[int, int] | None = None,
    roi: Rect | None = None,
    resize: str = "stretch",
    spacing_mm: tuple[float, float] | None = None,
    pixels: Array | None = None,
) -> View:
    """The view of a frame as the preprocessor would lay it into the input.

    Args:
        size: Width and height of the model input.
        frame: Width and height of the captured frame; None for those of the input.
        roi: Region of interest in it.
        resize: See `bedside.runtime.geometry.fit`.
        spacing_mm: Of the captured frame.
        pixels: The input tensor.
    """
    width, height = frame or size
    return View(fit(roi or Rect(0, 0, width, height), *size, resize), spacing_mm, pixels)
