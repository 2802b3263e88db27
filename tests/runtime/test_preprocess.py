"""Preprocess: against a slow, obvious implementation, and what masks promise."""

import sys
import tracemalloc
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bedside.runtime import preprocess
from bedside.runtime.bundle.manifest import InputSpec, Normalization, Quantization
from bedside.runtime.errors import BundleError, EngineError, FrameError
from bedside.runtime.geometry import Box, Rect, fit
from bedside.runtime.preprocess import Preprocessor

Array = npt.NDArray[Any]

INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}
CODES = {
    "bgr-rgb": cv2.COLOR_BGR2RGB,
    "rgb-bgr": cv2.COLOR_RGB2BGR,
    "bgr-gray": cv2.COLOR_BGR2GRAY,
    "rgb-gray": cv2.COLOR_RGB2GRAY,
    "gray-rgb": cv2.COLOR_GRAY2RGB,
    "gray-bgr": cv2.COLOR_GRAY2BGR,
}


def blocks_fit(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether the picture can be halved and still be at least twice as large as the target."""
    height, width = shape[:2]
    return height % 2 == width % 2 == 0 and height >= 4 * size[1] and width >= 4 * size[0]


def slow(spec: InputSpec, pixels: Array, color: str, roi: Rect | None = None) -> Array:
    """The specification, one step after the other, each into a fresh array."""
    height, width = pixels.shape[:2]
    where = fit(roi or Rect(0, 0, width, height), spec.width, spec.height, spec.resize)
    crop = pixels[where.crop.y : where.crop.y1, where.crop.x : where.crop.x1]
    crop, size = np.ascontiguousarray(crop), (where.inner.width, where.inner.height)
    while spec.interpolation == "area" and blocks_fit(crop.shape, size):
        crop = cv2.resize(crop, (crop.shape[1] // 2, crop.shape[0] // 2), interpolation=cv2.INTER_AREA)
    picture = cv2.resize(crop, size, interpolation=INTERPOLATION[spec.interpolation])
    if color != spec.color:
        picture = cv2.cvtColor(picture, CODES[f"{color}-{spec.color}"])
    picture = picture.reshape(where.inner.height, where.inner.width, spec.channels)
    full = np.full((spec.height, spec.width, spec.channels), spec.pad, np.uint8)
    full[where.inner.y : where.inner.y1, where.inner.x : where.inner.x1] = picture
    real = full.astype(np.float64)
    if spec.normalization is not None:
        real = (real - np.array(spec.normalization.mean)) / np.array(spec.normalization.std)
    if spec.quantization is not None:
        real = np.rint(real / spec.quantization.scale) + spec.quantization.zero_point
    if spec.dtype in ("uint8", "int8", "int16", "int32"):
        real = np.clip(real, np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
    tensor = real.astype(spec.dtype)
    return (tensor.transpose(2, 0, 1) if spec.layout == "nchw" else tensor)[None]


def buffer(spec: InputSpec) -> Array:
    """An input buffer full of what a previous frame could have left."""
    out = np.empty(spec.shape, spec.dtype)
    out.view(np.uint8)[...] = 0xA5
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[InputSpec, Array, str, Rect | None]:
    model_color = draw(st.sampled_from(["rgb", "bgr", "gray"]))
    channels = 1 if model_color == "gray" else 3
    dtype = draw(st.sampled_from(["uint8", "int8", "int16", "int32", "float16", "float32"]))
    normalization = None
    if draw(st.booleans()):
        values = st.lists(st.floats(1, 200), min_size=channels, max_size=channels)
        normalization = Normalization(mean=tuple(draw(values)), std=tuple(draw(values)))
    quantization = None
    if dtype.startswith(("int", "uint")) and (
        dtype != "uint8" or normalization is not None or draw(st.booleans())
    ):
        quantization = Quantization(scale=draw(st.floats(0.005, 2)), zero_point=draw(st.integers(-100, 100)))
    spec = InputSpec(
        width=draw(st.integers(1, 40)),
        height=draw(st.integers(1, 40)),
        channels=channels,
        color=model_color,
        resize=draw(st.sampled_from(["stretch", "letterbox", "crop"])),
        interpolation=draw(st.sampled_from(["nearest", "linear", "area", "cubic"])),
        pad=draw(st.integers(0, 255)),
        layout=draw(st.sampled_from(["nhwc", "nchw"])),
        dtype=dtype,
        quantization=quantization,
        normalization=normalization,
    )
    color = draw(st.sampled_from(["rgb", "bgr", "gray"]))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    seed = draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(
        0, 256, (height, width, 1 if color == "gray" else 3), np.uint8
    )
    roi = None
    if draw(st.booleans()):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        roi = Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
    return spec, pixels, color, roi


@settings(max_examples=300, deadline=None)
@given(cases())
def test_equals_the_slow_way(case: tuple[InputSpec, Array, str, Rect | None]) -> None:
    spec, pixels, color, roi = case
    pre, out = Preprocessor(spec, roi=roi), buffer(spec)
    pixels.flags.writeable = False
    height, width = pixels.shape[:2]
    made = pre(pixels, color, out)
    np.testing.assert_array_equal(out, slow(spec, pixels, color, roi))
    assert made == fit(roi or Rect(0, 0, width, height), spec.width, spec.height, spec.resize)
    # And again with the plan in place, over other leftovers.
    again = np.zeros_like(out)
    pre(pixels, color, again)
    np.testing.assert_array_equal(again, out)


@st.composite
def masked(draw: st.DrawFn) -> tuple[InputSpec, tuple[int, int], list[Rect], int]:
    spec = InputSpec(
        width=draw(st.integers(1, 48)),
        height=draw(st.integers(1, 48)),
        resize=draw(st.sampled_from(["stretch", "letterbox", "crop"])),
        interpolation=draw(st.sampled_from(["nearest", "linear", "area", "cubic"])),
        layout=draw(st.sampled_from(["nhwc", "nchw"])),
        color=draw(st.sampled_from(["rgb", "bgr"])),
        pad=draw(st.integers(0, 255)),
    )
    height, width = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    masks = []
    for _ in range(draw(st.integers(1, 3))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        masks.append(Rect(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y))))
    return spec, (height, width), masks, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=600, deadline=None)
@given(masked())
def test_masked_pixels_never_reach_the_model(
    case: tuple[InputSpec, tuple[int, int], list[Rect], int],
) -> None:
    spec, (height, width), masks, seed = case
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    other = pixels.copy()
    for mask in masks:
        area = other[mask.y : mask.y1, mask.x : mask.x1]
        # The strongest edges there are, then noise: cubic interpolation overshoots on the first.
        area[...] = (
            255 - (area > 127) * np.uint8(255) if seed % 2 else rng.integers(0, 256, area.shape, np.uint8)
        )
    pre = Preprocessor(spec, masks=masks)
    first, second = buffer(spec), np.zeros(spec.shape, spec.dtype)
    pre(pixels, "bgr", first)
    pre(other, "bgr", second)
    np.testing.assert_array_equal(first, second)


@settings(max_examples=200, deadline=None)
@given(masked())
def test_masks_blank_no_more_than_they_must(
    case: tuple[InputSpec, tuple[int, int], list[Rect], int],
) -> None:
    spec, (height, width), masks, seed = case
    mask = masks[0]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    plain, blanked = buffer(spec), buffer(spec)
    made = Preprocessor(spec)(pixels, "bgr", plain)
    Preprocessor(spec, masks=[mask])(pixels, "bgr", blanked)
    if spec.layout == "nchw":
        plain, blanked = plain.transpose(0, 2, 3, 1), blanked.transpose(0, 2, 3, 1)
    # A mask reaches two source pixels (cubic) and one model pixel beyond itself, not further.
    near = made.transform.box_to_model(Box(mask.x - 2.1, mask.y - 2.1, mask.x1 + 2.1, mask.y1 + 2.1))
    columns, rows = np.arange(spec.width) + 0.5, np.arange(spec.height) + 0.5
    beside = (columns < near.x0 - 1) | (columns > near.x1 + 1)
    above = (rows < near.y0 - 1) | (rows > near.y1 + 1)
    outside = beside[None, :] | above[:, None]
    assume(outside.any())
    np.testing.assert_array_equal(blanked[0][outside], plain[0][outside])


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (768, 1024), (480, 640)])
def test_an_area_average_in_steps_is_an_area_average(height: int, width: int) -> None:
    spec = InputSpec(width=64, height=64, color="bgr", interpolation="area")
    rows, columns = np.mgrid[0:height, 0:width]
    smooth = 127 + 60 * np.sin(rows / 31) + 60 * np.cos(columns / 47)
    speckle = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    pixels = np.clip(smooth[..., None] + speckle, 0, 255).astype(np.uint8)
    out = buffer(spec)
    Preprocessor(spec)(pixels, "bgr", out)
    direct = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    difference = np.abs(out[0].astype(int) - direct)
    assert difference.max() <= 3
    assert difference.mean() < 0.6


def test_a_mask_is_blanked_with_the_padding_value() -> None:
    spec = InputSpec(width=8, height=8, pad=77, interpolation="nearest")
    out = buffer(spec)
    Preprocessor(spec, masks=[Rect(0, 0, 32, 8)])(np.zeros((32, 32, 3), np.uint8), "bgr", out)
    assert (out[0, :2] == 77).all()
    assert (out[0, 3:] == 0).all()


def test_a_mask_outside_the_region_of_interest_blanks_nothing() -> None:
    spec = InputSpec(width=8, height=8)
    pixels = np.full((32, 32, 3), 9, np.uint8)
    out = buffer(spec)
    Preprocessor(spec, roi=Rect(16, 16, 16, 16), masks=[Rect(0, 0, 16, 32)])(pixels, "bgr", out)
    assert (out == 9).all()


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
def test_a_dot_lands_where_the_fit_says(mode: str) -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[300:308, 200:208] = 255
    spec = InputSpec(width=160, height=160, resize=mode, interpolation="area")
    out = buffer(spec)
    made = Preprocessor(spec, roi=Rect(100, 50, 500, 400))(pixels, "bgr", out)
    rows, columns = np.nonzero(out[0, :, :, 0])
    weights = out[0, rows, columns, 0].astype(float)
    centre = np.average(columns + 0.5, weights=weights), np.average(rows + 0.5, weights=weights)
    assert made.transform.to_frame(centre) == pytest.approx((204, 304), abs=1.0)


@pytest.mark.parametrize(
    ("spec", "color"),
    [
        (InputSpec(width=64, height=48), "rgb"),
        (InputSpec(width=64, height=48, resize="letterbox"), "rgb"),
        (InputSpec(width=64, height=48, channels=1, color="gray"), "gray"),
        (InputSpec(width=64, height=48, channels=1, color="gray", layout="nchw", resize="letterbox"), "gray"),
        (
            InputSpec(
                width=64,
                height=48,
                quantization=Quantization(scale=0.0078125, zero_point=128),
                normalization=Normalization(mean=(128.0,), std=(128.0,)),
            ),
            "rgb",
        ),
    ],
)
def test_the_plain_path_allocates_nothing(spec: InputSpec, color: str) -> None:
    pixels = np.zeros((480, 640, 1 if color == "gray" else 3), np.uint8)
    pre, out = Preprocessor(spec), buffer(spec)
    pre(pixels, color, out)
    tracemalloc.start()
    try:
        pre(pixels, color, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Views and integers; a picture of the model's size alone would be 3,072 bytes.
    assert peak < 3000


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_scratch_pictures_are_made_once(dtype: str, layout: str) -> None:
    quantization = Quantization(scale=1.0, zero_point=-128) if dtype == "int8" else None
    spec = InputSpec(width=96, height=96, dtype=dtype, layout=layout, quantization=quantization)
    pixels = np.zeros((480, 640, 3), np.uint8)
    pre, out = Preprocessor(spec), buffer(spec)
    pre(pixels, "bgr", out)
    tracemalloc.start()
    try:
        pre(pixels, "bgr", out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 96 * 96


def test_no_array_of_the_buffer_is_kept() -> None:
    spec = InputSpec(width=16, height=16, resize="letterbox", dtype="float32")
    owner = np.zeros(spec.shape, np.float32)
    before = sys.getrefcount(owner)
    pre = Preprocessor(spec, masks=[Rect(0, 0, 3, 3)])
    pre(np.zeros((20, 30, 3), np.uint8), "bgr", owner.view())
    assert sys.getrefcount(owner) == before


def test_a_frame_of_another_size_gets_its_own_plan() -> None:
    rng = np.random.default_rng(3)
    spec = InputSpec(width=20, height=20, resize="letterbox")
    pre = Preprocessor(spec)
    for side in (*range(20, 60, 2), 20):
        pixels = rng.integers(0, 256, (side, 64, 3), np.uint8)
        for color in ("bgr", "rgb"):
            out = buffer(spec)
            pre(pixels, color, out)
            np.testing.assert_array_equal(out, slow(spec, pixels, color))


def test_strided_frames_are_read_as_they_are() -> None:
    wide = np.random.default_rng(5).integers(0, 256, (40, 90, 3), np.uint8)
    spec = InputSpec(width=16, height=16)
    for pixels in (wide[:, 7:71], wide[::2], wide[:, ::-1], wide[::-1], wide[:, ::3]):
        out = buffer(spec)
        Preprocessor(spec)(pixels, "bgr", out)
        np.testing.assert_array_equal(out, slow(spec, np.ascontiguousarray(pixels), "bgr"))


def test_a_destination_that_opencv_replaced_is_filled_all_the_same() -> None:
    target, result = np.zeros((4, 5, 1), np.uint8), np.arange(20, dtype=np.uint8).reshape(4, 5)
    preprocess._into(result, target)
    np.testing.assert_array_equal(target[:, :, 0], result)


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    "roi", [Rect(0, 0, 641, 480), Rect(600, 0, 64, 64), Rect(0, -1, 5, 5), Rect(1, 1, 0, 5)]
)
def test_a_region_that_does_not_lie_in_the_frame_is_named_with_both_sizes(roi: Rect) -> None:
    spec = InputSpec(width=8, height=8)
    with pytest.raises(FrameError, match=rf"region of interest \[{roi.x}, .*640x480"):
        Preprocessor(spec, roi=roi)(np.zeros((480, 640, 3), np.uint8), "bgr", buffer(spec))


@pytest.mark.fault("S6")
def test_a_mask_that_does_not_lie_in_the_frame_is_never_ignored() -> None:
    spec = InputSpec(width=8, height=8)
    pre = Preprocessor(spec, masks=[Rect(0, 0, 10, 10), Rect(1800, 0, 120, 40)])
    with pytest.raises(FrameError, match=r"mask \[1800, 0, 120, 40\] does not lie in the frame of 640x480"):
        pre(np.zeros((480, 640, 3), np.uint8), "bgr", buffer(spec))


@pytest.mark.parametrize(
    ("shape", "dtype", "color"),
    [
        ((8, 8), np.uint8, "gray"),
        ((8, 8, 3), np.uint8, "gray"),
        ((8, 8, 1), np.uint8, "bgr"),
        ((8, 8, 4), np.uint8, "bgr"),
        ((8, 8, 3), np.uint16, "bgr"),
        ((0, 8, 3), np.uint8, "bgr"),
    ],
)
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], dtype: Any, color: Any) -> None:
    spec = InputSpec(width=8, height=8)
    with pytest.raises(FrameError, match="this one is"):
        Preprocessor(spec)(np.zeros(shape, dtype), color, buffer(spec))


def test_a_plan_is_no_excuse_for_another_element_type() -> None:
    spec = InputSpec(width=8, height=8)
    pre, out = Preprocessor(spec), buffer(spec)
    pre(np.zeros((9, 9, 3), np.uint8), "bgr", out)
    with pytest.raises(FrameError, match="uint16"):
        pre(np.zeros((9, 9, 3), np.uint16), "bgr", out)  # type: ignore[arg-type]


def test_an_error_of_opencv_is_a_frame_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise cv2.error("(-215:Assertion failed) !ssize.empty()\n in function 'resize'")

    spec = InputSpec(width=8, height=8)
    pre, out = Preprocessor(spec), buffer(spec)
    monkeypatch.setattr(preprocess.cv2, "resize", broken)
    with pytest.raises(FrameError, match=r"cannot be resized: .*Assertion failed") as caught:
        pre(np.zeros((8, 8, 3), np.uint8), "bgr", out)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.int8),
        np.zeros((1, 8, 16, 3), np.uint8)[:, :, ::2],
        np.zeros((1, 8, 8, 3), np.uint8).transpose(0, 2, 1, 3),
    ],
)
def test_a_buffer_of_another_tensor_is_refused(out: Array) -> None:
    with pytest.raises(EngineError, match=r"the manifest says \[1, 8, 8, 3\] uint8"):
        Preprocessor(InputSpec(width=8, height=8))(np.zeros((8, 8, 3), np.uint8), "bgr", out)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "bool"}, "cannot hold pixels"),
        ({"dtype": "int64"}, "cannot hold pixels"),
        ({"dtype": "int8"}, "need its quantization"),
        ({"normalization": Normalization(mean=(1.0,), std=(2.0,))}, "need its quantization"),
        ({"dtype": "float32", "quantization": Quantization(scale=1.0)}, "has no quantization"),
    ],
)
def test_an_input_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Preprocessor(InputSpec(width=8, height=8, **fields))
