"""Geometry, written down once.

Conventions, everywhere in bedside:

- A pixel `(row r, column c)` covers the square `[c, c+1) x [r, r+1)`. Its centre, where points live, is
  `(c + 0.5, r + 0.5)`.
- A box is half-open, `x0 <= x < x1`, `y0 <= y < y1`, in pixels of the captured frame. Its width is `x1 - x0`.
- Spacing is millimetres per pixel and may differ by axis: `(mm per row step, mm per column step)`.

Mapping between the captured frame and the model's input is a scale and a shift per axis on these continuous
coordinates. With corner-aligned squares as above, `cv2.resize` with linear or area interpolation is exactly
this map (OpenCV documents pixel centres at +0.5), so no half-pixel correction appears anywhere.
"""

import msgspec

Point = tuple[float, float]


class Rect(msgspec.Struct, frozen=True, array_like=True):
    """An integer half-open rectangle in captured-frame pixels: `[x, y, width, height]`."""

    x: int
    y: int
    width: int
    height: int

    @property
    def x1(self) -> int:
        """First column to the right of the rectangle."""
        return self.x + self.width

    @property
    def y1(self) -> int:
        """First row below the rectangle."""
        return self.y + self.height

    def inside(self, width: int, height: int) -> bool:
        """Whether the rectangle is non-empty and lies in a `width` x `height` frame."""
        return (
            self.width > 0
            and self.height > 0
            and self.x >= 0
            and self.y >= 0
            and self.x1 <= width
            and self.y1 <= height
        )


class Box(msgspec.Struct, frozen=True, array_like=True):
    """A half-open box `[x0, y0, x1, y1]` in continuous pixel coordinates."""

    x0: float
    y0: float
    x1: float
    y1: float

    def clipped(self, width: float, height: float) -> "Box":
        """This box cut to a `width` x `height` frame."""
        return Box(
            min(max(self.x0, 0.0), width),
            min(max(self.y0, 0.0), height),
            min(max(self.x1, 0.0), width),
            min(max(self.y1, 0.0), height),
        )


class Transform(msgspec.Struct, frozen=True):
    """Captured-frame coordinates to model-input coordinates: `u = x * sx + tx`, `v = y * sy + ty`."""

    sx: float
    sy: float
    tx: float
    ty: float

    def to_model(self, point: Point) -> Point:
        """Map a captured-frame point `(x, y)` to model-input coordinates."""
        return point[0] * self.sx + self.tx, point[1] * self.sy + self.ty

    def to_frame(self, point: Point) -> Point:
        """Map a model-input point `(u, v)` back to captured-frame coordinates."""
        return (point[0] - self.tx) / self.sx, (point[1] - self.ty) / self.sy

    def box_to_model(self, box: Box) -> Box:
        """Map a captured-frame box to model-input coordinates."""
        (x0, y0), (x1, y1) = self.to_model((box.x0, box.y0)), self.to_model((box.x1, box.y1))
        return Box(x0, y0, x1, y1)

    def box_to_frame(self, box: Box) -> Box:
        """Map a model-input box back to captured-frame coordinates."""
        (x0, y0), (x1, y1) = self.to_frame((box.x0, box.y0)), self.to_frame((box.x1, box.y1))
        return Box(x0, y0, x1, y1)


class Fit(msgspec.Struct, frozen=True):
    """How a region of the captured frame is laid into a model input.

    Attributes:
        crop: What is read from the captured frame.
        inner: Where it lies in the model input, `[x, y, width, height]` in model pixels; the rest is padding.
        transform: The same as a map of coordinates.
        size: Of the model input, `(width, height)`, padding included.
    """

    crop: Rect
    inner: Rect
    transform: Transform
    size: tuple[int, int]


def fit(roi: Rect, width: int, height: int, mode: str) -> Fit:
    """Lay a region of interest into a `width` x `height` model input.

    Args:
        roi: Region in captured-frame pixels.
        width: Model input width in pixels.
        height: Model input height in pixels.
        mode: `stretch` fills the input and may change the aspect ratio; `letterbox` keeps it and pads, centred;
            `crop` keeps it and cuts the longer side, centred.

    Returns:
        The crop, the place, and the coordinate map. Rounding of the letterbox's size is to the nearest pixel, at
        least one, and the map states the rounded truth.
    """
    crop, inner = roi, Rect(0, 0, width, height)
    if mode == "letterbox":
        scale = min(width / roi.width, height / roi.height)
        w = min(width, max(1, round(roi.width * scale)))
        h = min(height, max(1, round(roi.height * scale)))
        inner = Rect((width - w) // 2, (height - h) // 2, w, h)
    elif mode == "crop":
        scale = max(width / roi.width, height / roi.height)
        w = min(roi.width, max(1, round(width / scale)))
        h = min(roi.height, max(1, round(height / scale)))
        crop = Rect(roi.x + (roi.width - w) // 2, roi.y + (roi.height - h) // 2, w, h)
    sx, sy = inner.width / crop.width, inner.height / crop.height
    transform = Transform(sx, sy, inner.x - crop.x * sx, inner.y - crop.y * sy)
    return Fit(crop, inner, transform, (width, height))
