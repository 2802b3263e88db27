"""From captured frame to model input: geometry only, straight into the engine's own buffer.

Region of interest, resize or letterbox, colour order, masks. Normalization belongs inside the exported graph;
for third-party models whose manifest states one, it and the quantization become a table of 256 entries per
channel, so that a uint8 or int8 model never sees a float here.

The plain path, a uint8 model that takes pixels in the frame's colour order, is one `cv2.resize` into the
engine's memory: no intermediate picture, no allocation. Every other path goes through scratch pictures of the
model's size, allocated once per frame geometry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import BundleError, EngineError, FrameError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Fit, Rect, fit

Array = npt.NDArray[Any]

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}

#: Frame colour and model colour to OpenCV's conversion; the same colour needs none.
_CONVERSION = {
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}

#: `cv2.LUT` copies table entries of these types; float16 travels as its bit pattern.
_TABLE_TYPES: dict[str, npt.DTypeLike] = {
    "uint8": np.uint8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "float16": np.int16,
    "float32": np.float32,
}

_UINT8 = np.dtype(np.uint8)

#: OpenCV computes source positions in float32 and fixed point; no build strays further, in source pixels.
_SLACK = 1 / 64

#: Sizes that change in mid-stream are rare, endless ones a fault; more plans than this are forgotten.
_MOST_PLANS = 8


class Preprocess(Protocol):
    """Fills a model's input for one captured frame. One thread owns it."""

    @property
    def spec(self) -> InputSpec:
        """What the model wants."""
        ...

    def __call__(self, pixels: Pixels, color: Color, out: Array) -> Fit:
        """Fill the whole tensor `out`; see `Preprocessor.__call__`."""
        ...


class Preprocessor:
    """Lays captured frames into a model's input tensor. One thread owns it.

    Args:
        spec: What the model wants.
        roi: The part of the captured frame to look at, in its pixels; None for all of it.
        masks: Parts of the captured frame that the model must not see (burned-in names, screen furniture), in
            its pixels. They are blanked with `spec.pad` in the model input, rounded outwards by the reach of
            the interpolation: no pixel inside a mask influences the tensor.

    Raises:
        BundleError: `spec` contradicts itself: an element type that cannot hold pixels, or values that need a
            quantization and have none; or the input is a latent, which `bedside.runtime.latent` draws.
    """

    def __init__(self, spec: InputSpec, *, roi: Rect | None = None, masks: Sequence[Rect] = ()) -> None:
        if spec.latent is not None:
            raise BundleError(f"input: {spec.latent} drawn numbers are no picture")
        self.spec = spec
        self.roi = roi
        self.masks = tuple(masks)
        self._shape = spec.shape
        self._dtype = np.dtype(spec.dtype)
        self._tables = _tables(spec)
        self._plans: dict[tuple[tuple[int, ...], Color], _Plan] = {}

    def __call__(self, pixels: Pixels, color: Color, out: Array) -> Fit:
        """Write one frame into `out`.

        Args:
            pixels: `(H, W, C) uint8`; C is 1 for `gray`, else 3.
            color: Channel order of `pixels`.
            out: The whole input tensor, `spec.shape` of `spec.dtype`, C-contiguous; written in place.

        Returns:
            Where the frame came to lie: the way back to captured-frame pixels.

        Raises:
            FrameError: The frame is no such picture, or the region of interest or a mask does not lie in it.
            EngineError: `out` is not the tensor that `spec` describes.
        """
        if out.shape != self._shape or out.dtype != self._dtype or not out.flags.c_contiguous:
            raise EngineError(
                f"the input buffer is {list(out.shape)} {out.dtype} with strides {list(out.strides)}, "
                f"the manifest says {list(self._shape)} {self._dtype}, contiguous"
            )
        key = (pixels.shape, color)
        plan = self._plans.get(key)
        if plan is None or pixels.dtype != _UINT8:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._plan(pixels, color)
        try:
            plan.run(pixels, out)
        except cv2.error as error:
            raise FrameError(f"cannot be resized: {error}") from None
        return plan.fit

    def _plan(self, pixels: Pixels, color: Color) -> _Plan:
        channels = 1 if color == "gray" else 3
        if pixels.ndim != 3 or pixels.shape[2] != channels or pixels.dtype != _UINT8 or 0 in pixels.shape:
            raise FrameError(
                f"a {color} frame is (H, W, {channels}) uint8, this one is {pixels.shape} {pixels.dtype}"
            )
        height, width = pixels.shape[:2]
        roi = self.roi or Rect(0, 0, width, height)
        for name, rect in (("region of interest", roi), *(("mask", mask) for mask in self.masks)):
            if not rect.inside(width, height):
                raise FrameError(
                    f"the {name} [{rect.x}, {rect.y}, {rect.width}, {rect.height}] "
                    f"does not lie in the frame of {width}x{height}",
                    hint="the source changed its size, or the profile was made for another one",
                )
        spec = self.spec
        where = fit(roi, spec.width, spec.height, spec.resize)
        code = _CONVERSION.get((color, spec.color))
        return _Plan(spec, where, channels, code, self._tables, _blank_areas(spec, where, self.masks))


class _Area(NamedTuple):
    """A half-open area of the model input, in model pixels."""

    rows: slice
    columns: slice


class _Plan:
    """All that is fixed once the frame's geometry is known."""

    def __init__(
        self,
        spec: InputSpec,
        where: Fit,
        channels: int,
        code: int | None,
        tables: Array | None,
        blanks: tuple[_Area, ...],
    ) -> None:
        self.fit = where
        crop, inner = where.crop, where.inner
        self._crop = (slice(crop.y, crop.y1), slice(crop.x, crop.x1))
        self._inner = _Area(slice(inner.y, inner.y1), slice(inner.x, inner.x1))
        self._size = (inner.width, inner.height)
        self._interpolation = _INTERPOLATION[spec.interpolation]
        self._halved = [
            np.empty((crop.height >> k, crop.width >> k, channels), np.uint8)
            for k in range(1, _halvings(where, spec.interpolation) + 1)
        ]
        self._code = code
        self._blanks = (*_padding(spec, inner), *blanks)
        # Memory of (1, 1, H, W) and (1, H, W, 1) is the same, so one channel needs no planes.
        self._planar = spec.layout == "nchw" and spec.channels > 1
        self._model_shape = (spec.height, spec.width, spec.channels)
        self._tables = tables
        self._table_type = np.dtype(_TABLE_TYPES[spec.dtype])
        pad = np.full(spec.channels, spec.pad, np.uint8) if tables is None else tables[0, spec.pad]
        # One value for all channels is filled at once; numpy repeats a triple pixel by pixel.
        self._pad = pad[:1] if (pad == pad[0]).all() else pad
        # Scratch pictures exist only where a step cannot write into the tensor itself.
        rest = self._planar or tables is not None
        h, w = inner.height, inner.width
        self._resized = np.empty((h, w, channels), np.uint8) if rest or code is not None else None
        self._converted = np.empty((h, w, spec.channels), np.uint8) if rest and code is not None else None
        self._planes: list[tuple[Array, Array]] = []
        if self._planar and tables is not None:
            per_channel = np.broadcast_to(tables, (1, 256, spec.channels))
            self._planes = [
                (np.empty((h, w), np.uint8), np.ascontiguousarray(per_channel[:, :, c]))
                for c in range(spec.channels)
            ]

    def run(self, pixels: Pixels, out: Array) -> None:
        """Fill the whole tensor."""
        tensor = out[0].view(self._table_type)
        if not self._planar:
            tensor = tensor.reshape(self._model_shape)
        self._write(pixels[self._crop], tensor)
        for area in self._blanks:
            if self._planar:
                tensor[:, area.rows, area.columns] = self._pad[:, None, None]
            else:
                tensor[area.rows, area.columns] = self._pad

    def _write(self, source: Pixels, tensor: Array) -> None:
        target = tensor if self._planar else tensor[self._inner]
        resized = target if self._resized is None else self._resized
        for half in self._halved:
            size = (half.shape[1], half.shape[0])
            _into(cv2.resize(source, size, dst=half, interpolation=cv2.INTER_AREA), half)
            source = half
        _into(cv2.resize(source, self._size, dst=resized, interpolation=self._interpolation), resized)
        picture = resized
        if self._code is not None:
            picture = target if self._converted is None else self._converted
            _into(cv2.cvtColor(resized, self._code, dst=picture), picture)
        if self._planar:
            self._split(picture, tensor)
        elif self._tables is not None:
            _into(cv2.LUT(picture, self._tables, dst=target), target)

    def _split(self, picture: Array, tensor: Array) -> None:
        targets = [plane[self._inner] for plane in tensor]
        planes = [plane for plane, _ in self._planes] or targets
        for result, plane in zip(cv2.split(picture, planes), planes, strict=True):
            _into(result, plane)
        for (plane, table), target in zip(self._planes, targets, strict=False):
            _into(cv2.LUT(plane, table, dst=target), target)


def _halvings(where: Fit, mode: str) -> int:
    """How often a picture is halved before its area average is taken.

    OpenCV averages exact 2x2 blocks with vector instructions and any other area pixel by pixel: 1080p to 64x64
    takes 7 ms at once and 1.1 ms in steps. The last step keeps a factor of at least 2, so that blocks on the
    border of two target pixels weigh little; pictures differ from the direct average by a code or two.
    """
    if mode != "area":
        return 0
    count, height, width = 0, where.crop.height, where.crop.width
    while (
        height % 2 == width % 2 == 0 and height >= 4 * where.inner.height and width >= 4 * where.inner.width
    ):
        count, height, width = count + 1, height // 2, width // 2
    return count


def _into(result: Array, target: Array) -> None:
    """Make sure that OpenCV wrote where it was told: it replaces a `dst` it cannot use without a word."""
    if result is not target:
        np.copyto(target, result.reshape(target.shape))


def _tables(spec: InputSpec) -> Array | None:
    """Tensor value of each pixel value, `(1, 256, C)`, or `(1, 256, 1)` where the channels agree.

    None where pixels go in as they are.

    `real = (pixel - mean) / std`, then `q = clip(round(real / scale) + zero_point)` for integer tensors
    (TFLite quantization specification), rounding half to even.
    """
    if spec.dtype not in _TABLE_TYPES:
        raise BundleError(f"input: a tensor of {spec.dtype} cannot hold pixels")
    if spec.dtype == "uint8" and spec.quantization is None and spec.normalization is None:
        return None
    mean, std = np.zeros(spec.channels), np.ones(spec.channels)
    if spec.normalization is not None:
        mean = np.broadcast_to(np.asarray(spec.normalization.mean, np.float64), (spec.channels,))
        std = np.broadcast_to(np.asarray(spec.normalization.std, np.float64), (spec.channels,))
    values = (np.arange(256.0)[None, :, None] - mean) / std
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        if spec.quantization is not None:
            raise BundleError(f"input: a tensor of {spec.dtype} has no quantization")
        table = values.astype(spec.dtype)
    else:
        if spec.quantization is None:
            raise BundleError(
                f"input: pixels in a tensor of {spec.dtype} need its quantization (scale, zero_point)"
            )
        limits = np.iinfo(spec.dtype)
        codes = np.rint(values / spec.quantization.scale) + spec.quantization.zero_point
        table = np.clip(codes, limits.min, limits.max).astype(spec.dtype)
    if spec.dtype == "uint8" and (table == np.arange(256)[None, :, None]).all():
        return None
    if (table == table[:, :, :1]).all():
        table = table[:, :, :1]
    return np.ascontiguousarray(table).view(_TABLE_TYPES[spec.dtype])


def _padding(spec: InputSpec, inner: Rect) -> tuple[_Area, ...]:
    """What the frame does not cover: the strips of a letterbox."""
    everywhere = slice(0, spec.width)
    strips = (
        _Area(slice(0, inner.y), everywhere),
        _Area(slice(inner.y1, spec.height), everywhere),
        _Area(slice(inner.y, inner.y1), slice(0, inner.x)),
        _Area(slice(inner.y, inner.y1), slice(inner.x1, spec.width)),
    )
    return tuple(s for s in strips if s.rows.start < s.rows.stop and s.columns.start < s.columns.stop)


def _blank_areas(spec: InputSpec, where: Fit, masks: tuple[Rect, ...]) -> tuple[_Area, ...]:
    """Model pixels that any masked pixel can reach."""
    crop, inner, mode = where.crop, where.inner, spec.interpolation
    areas = []
    for mask in masks:
        x0, x1 = max(mask.x, crop.x) - crop.x, min(mask.x1, crop.x1) - crop.x
        y0, y1 = max(mask.y, crop.y) - crop.y, min(mask.y1, crop.y1) - crop.y
        if x0 >= x1 or y0 >= y1:
            continue
        block = 1 << _halvings(where, mode)
        u0, u1 = _reached(x0, x1, crop.width, inner.width, mode, block)
        v0, v1 = _reached(y0, y1, crop.height, inner.height, mode, block)
        areas.append(_Area(slice(inner.y + v0, inner.y + v1), slice(inner.x + u0, inner.x + u1)))
    return tuple(areas)


def _reached(start: int, stop: int, source: int, target: int, mode: str, block: int) -> tuple[int, int]:
    """Target pixels that source pixels `start <= s < stop` influence along one axis, half-open.

    Target pixel `u` looks at the position `f = (u + 0.5) * step - 0.5`, with `step = source / target`, and
    reads source pixels `s` with `|s - f| <= reach` (OpenCV, `resize.cpp`): linear reads the two neighbours,
    cubic the four, nearest and area what the target pixel covers. Area becomes a linear form without the
    half-pixel shift as soon as either axis is enlarged, and then reads up to 1.5 away; of a halved picture it
    reads whole blocks of `block` source pixels. Pixels beyond the edge
    repeat the edge pixel, which every such target reads anyway. Anything outside the crop is never read:
    OpenCV is given the crop alone.
    """
    step = source / target
    covered = (step + 1) / 2
    reaches = {"linear": 1.0, "cubic": 2.0, "nearest": covered, "area": max(1.5, covered) + block - 1}
    reach = reaches[mode] + _SLACK
    first = math.ceil((start - reach + 0.5) / step - 0.5)
    last = math.floor((stop - 1 + reach + 0.5) / step - 0.5)
    return min(max(first, 0), target), min(max(last + 1, 0), target)
