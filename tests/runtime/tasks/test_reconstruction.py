"""Reconstruction: error, code distance, score, and the map of what could not be reproduced."""

from typing import Any

import cv2
import numpy as np
import pytest

from bedside.runtime.answers import Reconstruction
from bedside.runtime.bundle.decode import OutOfDistribution, ReconstructionDecode
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Box
from bedside.runtime.tasks import ReconstructionDecoder
from bedside.runtime.tasks.heatmap import values
from bedside.runtime.testing.views import make_view

SHAPE = (1, 64, 64, 3)
PICTURE = TensorSpec(name="picture", shape=SHAPE, dtype="float32")
CODE = TensorSpec(name="code", shape=(1, 4), dtype="float32")
OUT = OutOfDistribution(error_scale=4.0, distance_scale=2.0, threshold=1.5, false_alarm=0.01, samples=500)


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


def test_a_perfect_reconstruction_has_no_error() -> None:
    seen = pixels()
    found = ReconstructionDecoder(ReconstructionDecode()).decode(
        ((seen / 255).astype(np.float32),), (PICTURE,), make_view((64, 64), pixels=seen)
    )
    assert found.error == pytest.approx(0.0, abs=1e-4)
    assert found.score == found.error
    assert (found.distance, found.threshold) == (None, None)


def test_error_and_map_are_in_grey_levels() -> None:
    seen = np.full(SHAPE, 100, np.uint8)
    made = np.full(SHAPE, 100 / 255, np.float32)
    made[0, :32, :32, 0] = 130 / 255  # 30 in one of three channels of a quarter
    found = ReconstructionDecoder(ReconstructionDecode()).decode(
        (made,), (PICTURE,), make_view((64, 64), frame=(640, 320), pixels=seen)
    )
    assert found.error == pytest.approx(30 / 12, rel=1e-5)
    assert found.map is not None
    assert (found.map.width, found.map.height, found.map.box) == (32, 32, Box(0, 0, 640, 320))
    heat = values(found.map)
    np.testing.assert_allclose(heat[:16, :16], 10.0, rtol=1e-4)
    np.testing.assert_allclose(heat[16:], 0.0, atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_any_range_of_values(low: float, high: float) -> None:
    seen = pixels()
    made = (low + (high - low) * (seen.astype(np.float64) / 255)).astype(np.float32)
    error, _, _ = ReconstructionDecoder(ReconstructionDecode(low=low, high=high)).score(
        (made,), (PICTURE,), seen
    )
    assert error < 1e-4


@pytest.mark.parametrize(
    ("error", "code", "score"),
    [
        (2.0, [1.0, -1.0, 1.0, -1.0], 0.5),
        (8.0, [1.0, -1.0, 1.0, -1.0], 2.0),
        (0.0, [6.0, 0.0, 0.0, 0.0], 1.5),
    ],
)
def test_the_score_is_the_larger_of_the_two(error: float, code: list[float], score: float) -> None:
    seen = np.full(SHAPE, 50, np.uint8)
    made = np.full(SHAPE, (50 + error) / 255, np.float32)
    decoder = ReconstructionDecoder(ReconstructionDecode(code=1, out=OUT))
    outputs = (made, np.array([code], np.float32))
    found = decoder.score(outputs, (PICTURE, CODE), seen)
    assert found == pytest.approx((error, np.sqrt(np.mean(np.square(code))), score), abs=1e-4)
    decoded = decoder.decode(outputs, (PICTURE, CODE), make_view((64, 64), pixels=seen))
    assert (decoded.error, decoded.distance, decoded.score) == found
    assert decoded.threshold == 1.5


def test_without_a_scale_the_distance_does_not_decide() -> None:
    out = OutOfDistribution(error_scale=4.0, threshold=1.5, false_alarm=0.01, samples=500)
    decoder = ReconstructionDecoder(ReconstructionDecode(code=1, out=out))
    seen = np.full(SHAPE, 51, np.uint8)
    outputs = (np.full(SHAPE, 0.2, np.float32), np.full((1, 4), 100.0, np.float32))
    error, distance, score = decoder.score(outputs, (PICTURE, CODE), seen)
    assert distance == pytest.approx(100.0)
    assert score == error / 4.0 < 1e-4


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantized_outputs(dtype: Any) -> None:
    zero = {"int8": -128, "uint8": 0, "int16": 0}[dtype]
    quantization = Quantization(scale=1 / 255, zero_point=zero)
    seen = pixels()
    codes = (seen.astype(np.int32) + zero).astype(dtype)
    spec = TensorSpec(name="picture", shape=SHAPE, dtype=dtype, quantization=quantization)
    error, _, _ = ReconstructionDecoder(ReconstructionDecode()).score((codes,), (spec,), seen)
    assert error < 1e-3
    off, _, _ = ReconstructionDecoder(ReconstructionDecode()).score(
        (codes,), (spec,), np.zeros(SHAPE, np.uint8)
    )
    assert off == pytest.approx(seen.mean(), rel=1e-5)


def test_padding_is_left_out_of_the_map_alone() -> None:
    seen = np.zeros(SHAPE, np.uint8)
    made = np.zeros(SHAPE, np.float32)
    made[0, :16] = made[0, 48:] = 1.0  # the padding of a 2:1 frame, reproduced as badly as can be
    view = make_view((64, 64), frame=(200, 100), resize="letterbox", pixels=seen)
    found = ReconstructionDecoder(ReconstructionDecode()).decode((made,), (PICTURE,), view)
    assert found.error == pytest.approx(127.5)
    assert found.map is not None
    assert found.map.high < 1e-4


@pytest.mark.fault("B8")
def test_another_shape_is_refused() -> None:
    decoder = ReconstructionDecoder(ReconstructionDecode(code=1))
    seen, made = pixels(), np.zeros(SHAPE, np.float32)
    with pytest.raises(EngineError, match=r"'picture' is \[1, 32, 64, 3\], the input \[1, 64, 64, 3\]"):
        decoder.score((made[:, :32], np.zeros((1, 4), np.float32)), (PICTURE, CODE), seen)
    with pytest.raises(EngineError, match=r"'code' is \[1, 2, 2\], a code is \[1, D\]"):
        decoder.score((made, np.zeros((1, 2, 2), np.float32)), (PICTURE, CODE), seen)


def test_the_input_has_to_be_there() -> None:
    decoder = ReconstructionDecoder(ReconstructionDecode())
    assert decoder.needs_input
    with pytest.raises(ValueError, match=r"View\.pixels"):
        decoder.decode((np.zeros(SHAPE, np.float32),), (PICTURE,), make_view((64, 64)))


def test_a_result_can_be_read_back() -> None:
    import msgspec

    from bedside.runtime.answers import TaskResult

    seen = pixels()
    outputs = (np.zeros(SHAPE, np.float32), np.ones((1, 4), np.float32))
    found = ReconstructionDecoder(ReconstructionDecode(code=1, out=OUT)).decode(
        outputs, (PICTURE, CODE), make_view((64, 64), pixels=seen)
    )
    again = msgspec.json.decode(msgspec.json.encode(found), type=TaskResult)
    assert isinstance(again, Reconstruction)
    assert again == found


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_is_the_mean_over_channels_to_the_last_bit(channels: int) -> None:
    """Summed plane by plane; numpy's mean over the last axis is what it has to be."""
    generator = np.random.default_rng(7)
    shape = (1, 32, 32, channels)
    spec = TensorSpec(name="picture", shape=shape, dtype="float32")
    seen = generator.integers(0, 256, shape, np.uint8)
    made = generator.random(shape, np.float32)
    decoder = ReconstructionDecoder(ReconstructionDecode())
    for _ in range(2):  # the second frame finds the buffers of the first
        found = decoder.decode((made,), (spec,), make_view((32, 32), pixels=seen))
        assert found.map is not None
        scaled = cv2.addWeighted(
            made.reshape(32, -1), 255.0, seen.reshape(32, -1), -1.0, 0.0, dtype=cv2.CV_32F
        )
        mean = np.abs(np.asarray(scaled)).reshape(32, 32, channels).mean(axis=2)
        assert (found.map.low, found.map.high) == (mean.min().item(), mean.max().item())
        step = (found.map.high - found.map.low) / 255
        codes = np.rint((mean.astype(np.float64) - found.map.low) / step).astype(np.uint8)
        assert found.map.codes == codes.tobytes()
