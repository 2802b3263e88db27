"""Segmentation: classes on codes, areas, scores, geometry, and what is refused."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.answers import Segmentation
from bedside.runtime.bundle.decode import SegmentationDecode
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.tasks import NotFiniteError, dequantize
from bedside.runtime.tasks.protocol import View
from bedside.runtime.tasks.segmentation import SegmentationDecoder

TWO = ("background", "polyp")
FOUR = ("void", "folds", "tissue", "tool")
CODES = Quantization(scale=1 / 256, zero_point=-128)


def spec_of(array: npt.NDArray[Any], quantization: Quantization | None = None) -> tuple[TensorSpec]:
    dtype: Any = array.dtype.name
    return (TensorSpec(name="map", shape=array.shape, dtype=dtype, quantization=quantization),)


def view(width: int, height: int, roi: Rect | None = None, mode: str = "stretch", **rest: Any) -> View:
    return View(fit(roi or Rect(0, 0, width, height), width, height, mode), **rest)


def decoded(
    decode: SegmentationDecode, array: npt.NDArray[Any], where: View, quantization: Quantization | None = None
) -> Segmentation:
    return SegmentationDecoder(decode).decode((array,), spec_of(array, quantization), where)


def one_channel(dtype: str = "float32") -> npt.NDArray[Any]:
    """A foreground of 0.75 in rows 2..5 and columns 3..8 of 10 x 12, else 0.25."""
    probability = np.full((1, 10, 12, 1), 0.25, np.float32)
    probability[0, 2:6, 3:9] = 0.75
    if dtype == "float32":
        return probability
    return (probability * 256 - 128).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_one_foreground_class(dtype: str) -> None:
    where = view(12, 10, Rect(100, 50, 24, 40), spacing_mm=(0.5, 0.1))
    found = decoded(
        SegmentationDecode(labels=TWO), one_channel(dtype), where, None if dtype == "float32" else CODES
    )
    (region,) = found.regions
    assert (region.index, region.label) == (1, "polyp")
    assert region.score == pytest.approx(0.75)
    assert region.area_px == 24 * 2 * 4
    assert region.area_mm2 == pytest.approx(24 * 2 * 4 * 0.5 * 0.1)
    assert region.fraction == pytest.approx(24 / 120)
    assert (region.box.x0, region.box.y0, region.box.x1, region.box.y1) == (106, 58, 118, 74)
    assert set(region.contours[0]) == {(106, 58), (118, 58), (106, 74), (118, 74)}


def test_without_a_spacing_there_are_no_millimetres() -> None:
    (region,) = decoded(SegmentationDecode(labels=TWO), one_channel(), view(12, 10)).regions
    assert region.area_mm2 is None


def test_nothing_found_is_an_answer() -> None:
    assert decoded(SegmentationDecode(labels=TWO, threshold=0.8), one_channel(), view(12, 10)).regions == ()


def test_small_classes_are_left_out() -> None:
    for least, count in ((0.2, 1), (0.21, 0)):
        decode = SegmentationDecode(labels=TWO, min_area=least)
        assert len(decoded(decode, one_channel(), view(12, 10)).regions) == count


def test_letterbox_padding_never_counts() -> None:
    everything = np.ones((1, 64, 64, 1), np.float32)
    where = view(64, 64, Rect(5, 7, 200, 50), "letterbox")
    (region,) = decoded(SegmentationDecode(labels=TWO), everything, where).regions
    assert region.area_px == pytest.approx(200 * 50)
    assert region.fraction == 1.0
    assert set(region.contours[0]) == {(5, 7), (205, 7), (5, 57), (205, 57)}


@given(st.integers(0, 2**32 - 1), st.sampled_from(["nhwc", "nchw"]), st.sampled_from(["int8", "float32"]))
def test_the_largest_score_wins_and_of_equal_ones_the_first(seed: int, layout: Any, dtype: str) -> None:
    scores = np.random.default_rng(seed).integers(-5, 5, (1, 6, 7, 4)).astype(dtype)
    tensor = scores if layout == "nhwc" else np.ascontiguousarray(scores.transpose(0, 3, 1, 2))
    decoder = SegmentationDecoder(SegmentationDecode(labels=FOUR, layout=layout, scores="logits"))
    quantization = CODES if dtype == "int8" else None
    found = decoder.classes((tensor,), spec_of(tensor, quantization))
    np.testing.assert_array_equal(found, scores[0].argmax(axis=-1))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["probabilities", "logits"]), st.booleans())
def test_scores_are_means_over_the_region(seed: int, kind: Any, quantized: bool) -> None:
    rng = np.random.default_rng(seed)
    tensor = rng.integers(-128, 128, (1, 8, 8, 4), np.int8) if quantized else rng.random((1, 8, 8, 4), "f4")
    quantization = Quantization(scale=0.02, zero_point=-7) if quantized else None
    decoder = SegmentationDecoder(SegmentationDecode(labels=FOUR, scores=kind))
    specs = spec_of(tensor, quantization)
    found = decoder.decode((tensor,), specs, view(8, 8, Rect(0, 0, 16, 8), "letterbox"))
    probabilities = decoder.probabilities((tensor,), specs)[2:6]
    classes = decoder.classes((tensor,), specs)[2:6]
    assert [r.index for r in found.regions] == sorted(
        (k for k in range(1, 4) if (classes == k).any()), key=lambda k: -(classes == k).sum()
    )
    for region in found.regions:
        expected = probabilities[..., region.index][classes == region.index].mean()
        assert region.score == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_two_probabilities_out_of_one_channel(kind: Any) -> None:
    tensor = one_channel()
    found = SegmentationDecoder(SegmentationDecode(labels=TWO, scores=kind)).probabilities(
        (tensor,), spec_of(tensor)
    )
    assert found.shape == (10, 12, 2)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    expected = tensor if kind == "probabilities" else 1 / (1 + np.exp(-tensor))
    np.testing.assert_allclose(found[..., 1], expected[0, ..., 0], atol=1e-6)


def test_logits_of_one_channel_meet_the_threshold_as_probabilities() -> None:
    tensor = np.linspace(-4, 4, 81, dtype=np.float32).reshape(1, 9, 9, 1)
    decoder = SegmentationDecoder(SegmentationDecode(labels=TWO, scores="logits", threshold=0.8))
    expected = 1 / (1 + np.exp(-tensor[0, ..., 0])) > 0.8
    np.testing.assert_array_equal(decoder.classes((tensor,), spec_of(tensor)), expected)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_smaller_tensor_is_enlarged_before_classes_are_found(channels: int, quantized: bool) -> None:
    rng = np.random.default_rng(3)
    small = cv2.GaussianBlur(rng.random((16, 20, channels), "f4"), (0, 0), 3).reshape(16, 20, channels)
    small = (small - small.min()) / (small.max() - small.min())
    tensor = (small * 255 - 128).astype(np.int8)[None] if quantized else small[None]
    specs = spec_of(tensor, CODES if quantized else None)
    decoder = SegmentationDecoder(SegmentationDecode(labels=TWO if channels == 1 else FOUR))
    found = decoder.classes((tensor,), specs, (64, 80))
    large = cv2.resize(dequantize(tensor, specs[0])[0], (80, 64), interpolation=cv2.INTER_LINEAR)
    expected = large > 0.5 if channels == 1 else large.argmax(axis=-1)
    assert (found == expected).mean() > 0.999
    regions = decoder.decode((tensor,), specs, view(80, 64)).regions
    assert sum(r.area_px for r in regions) == (found > 0).sum()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
@pytest.mark.parametrize("channel", [False, True])
def test_classes_without_scores(dtype: str, channel: bool) -> None:
    classes = np.zeros((1, 6, 6), dtype)
    classes[0, :3] = 2
    tensor = classes[..., None] if channel else classes
    decoder = SegmentationDecoder(SegmentationDecode(labels=FOUR, scores="labels"))
    (region,) = decoder.decode((tensor,), spec_of(tensor), view(12, 12)).regions
    assert (region.index, region.score, region.area_px) == (2, 1.0, 72)
    probabilities = decoder.probabilities((tensor,), spec_of(tensor))
    np.testing.assert_array_equal(probabilities.argmax(axis=-1), classes[0])


@pytest.mark.parametrize(
    ("tensor", "fields", "said"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), {}, "3 channels for 4 labels"),
        (np.zeros((1, 4, 4, 1), np.float32), {}, "1 channels for 4 labels"),
        (np.zeros((1, 4), np.float32), {}, "no map of scores"),
        (np.zeros((1, 4, 4, 2), np.int64), {"scores": "labels"}, "no map of classes"),
        (
            np.full((1, 4, 4), 4, np.int64),
            {"scores": "labels"},
            "names the classes 4 to 4, there are 4 labels",
        ),
        (np.full((1, 4, 4), -1, np.int64), {"scores": "labels"}, "names the classes -1"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    tensor: npt.NDArray[Any], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(EngineError, match=said):
        decoded(SegmentationDecode(labels=FOUR, **fields), tensor, view(4, 4))


def test_not_finite_is_withheld() -> None:
    tensor = one_channel()
    tensor[0, 1, 1] = np.nan
    with pytest.raises(NotFiniteError):
        decoded(SegmentationDecode(labels=TWO), tensor, view(12, 10))


def test_frames_do_not_leak_into_each_other() -> None:
    decoder = SegmentationDecoder(SegmentationDecode(labels=FOUR))
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 1, 9, 9, 4), "f4")
    kept = decoder.classes((first,), spec_of(first))
    before = kept.copy()
    decoder.classes((second,), spec_of(second))
    np.testing.assert_array_equal(kept, before)
