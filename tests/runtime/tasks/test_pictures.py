"""Translation and generation: pictures out of tensors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle.decode import GenerationDecode, TranslationDecode
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Box
from bedside.runtime.tasks import GenerationDecoder, TranslationDecoder
from bedside.runtime.tasks.picture import PictureReader
from bedside.runtime.testing.views import make_view


def spec_of(array: np.ndarray, quantization: Quantization | None = None) -> TensorSpec:
    return TensorSpec(name="picture", shape=array.shape, dtype=array.dtype.name, quantization=quantization)  # type: ignore[arg-type]


@given(
    st.lists(st.floats(-2.0, 3.0, width=32), min_size=12, max_size=12),
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]),
    st.sampled_from(["float32", "float16"]),
)
def test_values_are_rounded_and_cut(values: list[float], span: tuple[float, float], dtype: str) -> None:
    low, high = span
    array = np.array(values, dtype).reshape(1, 2, 2, 3)
    made = PictureReader(low, high).pixels(array, spec_of(array), "rgb")
    real = (array.astype(np.float64) - low) / (high - low) * 255
    assert made.dtype == np.uint8
    assert np.abs(made[None] - np.clip(real, 0, 255)).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_quantized_and_real_pictures_agree(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    zero = -100 if dtype == "int8" else 20
    quantization = Quantization(scale=0.008, zero_point=zero)
    codes = (zero + rng.integers(0, 125, (1, 8, 6, 3))).astype(dtype)
    real = ((codes.astype(np.float64) - zero) * 0.008).astype(np.float32)
    reader = PictureReader(0.0, 1.0)
    quantized = reader.pixels(codes, spec_of(codes, quantization), "rgb").astype(int)
    assert np.abs(quantized - reader.pixels(real, spec_of(real), "rgb")).max() <= 1


@pytest.mark.parametrize(("color", "channels"), [("gray", 1), ("rgb", 3), ("bgr", 3)])
def test_a_translation(color: Any, channels: int) -> None:
    seen = np.full((1, 8, 8, channels), 100, np.uint8)
    made = np.full((1, 8, 8, channels), 0.5, np.float32)
    found = TranslationDecoder(TranslationDecode(color=color)).decode(
        (made,), (spec_of(made),), make_view((8, 8), frame=(64, 32), pixels=seen)
    )
    assert found.box == Box(0, 0, 64, 32)
    assert found.change == 28.0
    assert found.picture is not None
    assert (found.picture.width, found.picture.height, found.picture.color) == (8, 8, color)
    assert found.picture.pixels == bytes([128]) * (64 * channels)


def test_padding_is_cut_off_the_picture() -> None:
    seen = np.zeros((1, 16, 16, 3), np.uint8)
    made = np.ones((1, 16, 16, 3), np.float32)
    made[0, 4:12] = 0.2
    view = make_view((16, 16), frame=(200, 100), resize="letterbox", pixels=seen)
    found = TranslationDecoder(TranslationDecode()).decode((made,), (spec_of(made),), view)
    assert found.box == Box(0, 0, 200, 100)
    assert found.picture is not None
    assert (found.picture.width, found.picture.height) == (16, 8)
    assert set(found.picture.pixels) == {51}
    assert found.change == 51.0


@pytest.mark.parametrize("size", [8, 24, 32, 50])
def test_a_picture_of_another_size_than_the_input(size: int) -> None:
    """Pixels that show padding in part are left out, and the box says exactly what is left."""
    seen = np.full((1, 16, 16, 3), 51, np.uint8)
    made = np.full((1, size, size, 3), 0.2, np.float32)
    view = make_view((16, 16), frame=(320, 220), resize="letterbox", pixels=seen)
    found = TranslationDecoder(TranslationDecode()).decode((made,), (spec_of(made),), view)
    assert found.picture is not None
    assert found.change == 0.0
    assert found.box.x0 >= 0
    assert found.box.y0 >= 0
    assert found.box.x1 <= 320
    assert found.box.y1 <= 220
    per_row = view.fit.crop.height / view.fit.inner.height * 16 / size
    assert found.box.y1 - found.box.y0 == pytest.approx(found.picture.height * per_row)
    assert 220 - (found.box.y1 - found.box.y0) < 2 * per_row


def test_gray_and_colour_are_compared_by_their_means() -> None:
    seen = np.zeros((1, 4, 4, 3), np.uint8)
    seen[..., 0] = 90
    made = np.full((1, 4, 4, 1), 40 / 255, np.float32)
    view = make_view((4, 4), pixels=seen)
    found = TranslationDecoder(TranslationDecode(color="gray")).decode((made,), (spec_of(made),), view)
    assert found.change == pytest.approx(10.0)


def test_a_generation() -> None:
    made = np.zeros((1, 2, 2, 3), np.float32)
    made[0, 0] = 1.0
    made[0, 1] = -1.0
    found = GenerationDecoder(GenerationDecode()).decode((made,), (spec_of(made),), make_view((2, 2)))
    assert (found.mean, found.std) == (127.5, 127.5)
    assert found.picture is not None
    assert found.picture.pixels == bytes([255] * 6 + [0] * 6)
    assert not GenerationDecoder(GenerationDecode()).needs_input


@pytest.mark.fault("B8")
@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (1, 4, 4, 4), (1, 4, 12), (4, 4, 3)])
def test_what_is_no_such_picture_is_refused(shape: tuple[int, ...]) -> None:
    made = np.zeros(shape, np.float32)
    view = make_view((4, 4), pixels=np.zeros((1, 4, 4, 3), np.uint8))
    for task in (TranslationDecoder(TranslationDecode()), GenerationDecoder(GenerationDecode())):
        with pytest.raises(EngineError, match=r"'picture' is \[.*a rgb picture is \[1, h, w, 3\]"):
            task.decode((made,), (spec_of(made),), view)
