"""Detection: codings, units, thresholds on codes, suppression, geometry, and what is refused."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle.decode import DetectionDecode
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import EngineError
from bedside.runtime.geometry import Box, Rect, fit
from bedside.runtime.tasks import NotFiniteError, dequantize
from bedside.runtime.tasks.detection import DetectionDecoder
from bedside.runtime.tasks.protocol import View

SIZE = (80, 160)  # height, width
WANTED = np.array([[16, 8, 48, 40], [80, 20, 160, 60]], np.float32)


def tensors(*arrays: npt.NDArray[Any], **quantization: Any) -> tuple[tuple[Any, ...], tuple[TensorSpec, ...]]:
    specs = []
    for i, array in enumerate(arrays):
        dtype: Any = array.dtype.name
        given_one = quantization.get(f"q{i}")
        specs.append(TensorSpec(name=f"t{i}", shape=array.shape, dtype=dtype, quantization=given_one))
    return arrays, tuple(specs)


def coded(coding: str, units: str) -> npt.NDArray[np.float32]:
    x0, y0, x1, y1 = (WANTED / ((160, 80, 160, 80) if units == "normalized" else 1)).T
    columns = {
        "xyxy": (x0, y0, x1, y1),
        "yxyx": (y0, x0, y1, x1),
        "cxcywh": ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    }[coding]
    return np.stack(columns, axis=-1).astype(np.float32)[None]


@pytest.mark.parametrize("coding", ["xyxy", "yxyx", "cxcywh"])
@pytest.mark.parametrize("units", ["normalized", "pixels"])
def test_codings(coding: Any, units: Any) -> None:
    scores = np.array([[[0.6, 0.1], [0.2, 0.9]]], np.float32)
    decode = DetectionDecode(labels=("a", "b"), coding=coding, units=units)
    boxes, found, labels = DetectionDecoder(decode).detections(*tensors(coded(coding, units), scores), SIZE)
    np.testing.assert_allclose(boxes, WANTED[::-1], rtol=1e-5)
    np.testing.assert_allclose(found, [0.9, 0.6])
    assert labels.tolist() == [1, 0]
    assert (boxes.dtype, found.dtype, labels.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize("units", ["cells", "pixels", "normalized"])
def test_distances_from_the_centre_of_a_cell_on_two_levels(units: Any) -> None:
    outputs = []
    for rows, columns, at, wanted in ((10, 20, (3, 4), WANTED[0]), (5, 5, (2, 3), WANTED[1])):
        cell = np.array((160 / columns, 80 / rows))
        centre = (np.array(at[::-1]) + 0.5) * cell
        distance = np.concatenate((centre - wanted[:2], wanted[2:] - centre))
        unit = {"cells": cell, "pixels": np.ones(2), "normalized": np.array((160, 80))}[units]
        boxes = np.zeros((1, rows, columns, 4), np.float32)
        scores = np.zeros((1, rows, columns, 1), np.float32)
        boxes[0][at] = distance / np.tile(unit, 2)
        scores[0][at] = 0.75
        outputs += [boxes, scores]
    decode = DetectionDecode(labels=("a",), boxes=(0, 2), scores=(1, 3), coding="ltrb", units=units)
    boxes, scores, _ = DetectionDecoder(decode).detections(*tensors(*outputs), SIZE)
    np.testing.assert_allclose(boxes, WANTED, rtol=1e-5)
    assert scores.tolist() == [0.75, 0.75]


@pytest.mark.parametrize("background", ["none", "first", "last"])
def test_softmax_with_the_class_nothing(background: Any) -> None:
    logits = np.array([[[3.0, 1.0, 0.0], [0.0, 0.5, 4.0]]], np.float32)
    labels = ("a", "b", "c")[: 3 if background == "none" else 2]
    decode = DetectionDecode(labels=labels, activation="softmax", background=background, threshold=0.5)
    _, scores, found = DetectionDecoder(decode).detections(
        *tensors(coded("xyxy", "normalized"), logits), SIZE
    )
    e = np.exp(logits[0])
    both = e / e.sum(axis=1, keepdims=True)
    expected = {
        "none": ([both[1, 2], both[0, 0]], [2, 0]),
        "first": ([both[1, 2]], [1]),
        "last": ([both[0, 0]], [0]),
    }
    np.testing.assert_allclose(scores, expected[background][0], rtol=1e-5)
    assert found.tolist() == expected[background][1]


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.98), st.sampled_from(["none", "sigmoid"]))
def test_codes_give_what_their_values_give(seed: int, threshold: float, activation: Any) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(-128, 128, (1, 30, 4), np.int8)
    scores = rng.integers(-128, 128, (1, 30, 2), np.int8)
    quantization = {
        "q0": Quantization(scale=1 / 256, zero_point=-128),
        "q1": Quantization(
            scale=1 / 256 if activation == "none" else 0.05, zero_point=-128 + (activation != "none") * 120
        ),
    }
    outputs, specs = tensors(corners, scores, **quantization)
    decode = DetectionDecode(labels=("a", "b"), activation=activation, threshold=threshold)
    decoder = DetectionDecoder(decode)
    real = tensors(*(dequantize(o, s) for o, s in zip(outputs, specs, strict=True)))
    for a, b in zip(decoder.detections(outputs, specs, SIZE), decoder.detections(*real, SIZE), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def many(n: int) -> tuple[tuple[Any, ...], tuple[TensorSpec, ...]]:
    rng = np.random.default_rng(1)
    start = rng.random((1, n, 2), "f4") * 0.9
    return tensors(np.concatenate((start, start + 0.05), axis=2), rng.random((1, n, 1), "f4"))


def test_suppression_can_be_left_out_and_the_limit_holds() -> None:
    outputs, specs = many(3000)
    for iou in (None, 0.5):
        decoder = DetectionDecoder(DetectionDecode(labels=("a",), iou=iou, limit=7, threshold=0.0))
        _, scores, _ = decoder.detections(outputs, specs, SIZE)
        assert len(scores) == 7
        assert scores[0] == outputs[1].max()
        assert (np.diff(scores) <= 0).all()


def test_overlapping_boxes_of_a_class_become_one() -> None:
    boxes = np.array([[[0, 0, 0.5, 0.5], [0.01, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]], np.float32)
    scores = np.array([[[0.7], [0.8], [0.6]]], np.float32)
    outputs, specs = tensors(boxes, scores)
    for iou, count in ((0.5, 2), (None, 3)):
        found = DetectionDecoder(DetectionDecode(labels=("a",), iou=iou)).detections(outputs, specs, SIZE)
        assert len(found[1]) == count
        assert found[1][0] == np.float32(0.8)


def test_a_lower_threshold_for_a_curve() -> None:
    outputs, specs = many(50)
    decoder = DetectionDecoder(DetectionDecode(labels=("a",), iou=None))
    assert len(decoder.detections(outputs, specs, SIZE)[1]) == (outputs[1] >= 0.5).sum()
    assert len(decoder.detections(outputs, specs, SIZE, threshold=0.0)[1]) == 50


@given(
    st.integers(2, 3000),
    st.integers(2, 3000),
    st.sampled_from(["stretch", "letterbox", "crop"]),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
)
def test_boxes_return_to_the_captured_frame(width: int, height: int, mode: str, x: float, y: float) -> None:
    where = fit(Rect(11, 22, width, height), 160, 80, mode)
    crop = where.crop
    true = Box(
        crop.x + x * crop.width, crop.y + y * crop.height, crop.x + (x + 0.1) * crop.width, float(crop.y1)
    )
    laid = where.transform.box_to_model(true)
    boxes = np.array([[[laid.x0, laid.y0, laid.x1, laid.y1]]], np.float32)
    outputs, specs = tensors(boxes, np.ones((1, 1, 1), np.float32))
    decoder = DetectionDecoder(DetectionDecode(labels=("a",), units="pixels"))
    ((found,),) = (decoder.decode(outputs, specs, View(where, (2.0, 0.5))).boxes,)
    slack = 1e-3 + 1e-5 * max(width, height)
    for name in ("x0", "y0", "x1", "y1"):
        assert getattr(found.box, name) == pytest.approx(getattr(true, name), abs=slack)
    assert found.size_mm == pytest.approx(
        (0.5 * (true.x1 - true.x0), 2.0 * (true.y1 - true.y0)), abs=4 * slack
    )


def test_padding_is_cut_off_and_what_lies_in_it_is_left_out() -> None:
    where = fit(Rect(0, 0, 100, 100), 160, 80, "letterbox")
    boxes = np.array([[[0, 0, 0.2, 1], [0.1, 0.1, 0.5, 0.5]]], np.float32)
    outputs, specs = tensors(boxes, np.ones((1, 2, 1), np.float32))
    (found,) = DetectionDecoder(DetectionDecode(labels=("a",))).decode(outputs, specs, View(where)).boxes
    assert found.size_mm is None
    box = found.box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((0, 10, 50, 50), abs=1e-3)


@pytest.mark.parametrize("value", [np.finfo(np.float32).max, -np.finfo(np.float32).max])
def test_absurd_values_do_no_harm(value: float) -> None:
    outputs, specs = tensors(np.full((1, 3, 3, 4), value, np.float32), np.ones((1, 3, 3, 1), np.float32))
    for coding in ("xyxy", "cxcywh", "ltrb"):
        decoder = DetectionDecoder(DetectionDecode(labels=("a",), coding=coding))  # type: ignore[arg-type]
        boxes, _, _ = decoder.detections(outputs, specs, SIZE)
        assert ((boxes >= 0) & (boxes <= 160)).all()


@pytest.mark.parametrize(
    ("boxes", "scores", "coding", "said"),
    [
        ((1, 5, 3), (1, 5, 2), "xyxy", "holds no boxes"),
        ((1, 5, 4), (1, 5, 3), "xyxy", "does not give 2 scores for each of 5 boxes"),
        ((1, 5, 4), (1, 5, 2), "ltrb", "has no grid"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    boxes: tuple[int, ...], scores: tuple[int, ...], coding: Any, said: str
) -> None:
    outputs, specs = tensors(np.zeros(boxes, np.float32), np.ones(scores, np.float32))
    with pytest.raises(EngineError, match=said):
        DetectionDecoder(DetectionDecode(labels=("a", "b"), coding=coding)).detections(outputs, specs, SIZE)


def test_not_finite_is_withheld() -> None:
    outputs, specs = tensors(np.full((1, 1, 4), np.inf, np.float32), np.ones((1, 1, 1), np.float32))
    with pytest.raises(NotFiniteError):
        DetectionDecoder(DetectionDecode(labels=("a",))).detections(outputs, specs, SIZE)


@given(
    corners=st.lists(
        st.tuples(*(st.floats(-50, 250, width=32) for _ in range(4))).map(
            lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
        ),
        min_size=1,
        max_size=20,
    ),
    mode=st.sampled_from(["stretch", "letterbox", "crop"]),
)
def test_boxes_are_mapped_all_at_once_as_one_by_one(corners: list[Any], mode: str) -> None:
    """To the last bit what `Transform.box_to_frame` gives, cut to the crop."""
    height, width = SIZE
    view = View(fit(Rect(11, 7, 333, 201), width, height, mode))
    boxes = np.array(corners, np.float32)[None]
    scores = np.linspace(0.9, 0.6, len(corners), dtype=np.float32)[None, :, None]
    decode = DetectionDecode(
        labels=("a",), boxes=(0,), scores=(1,), coding="xyxy", units="pixels", threshold=0.5, iou=None
    )
    outputs, specs = tensors(boxes, scores)
    decoder = DetectionDecoder(decode)
    kept, _, _ = decoder.detections(outputs, specs, SIZE)
    wanted = []
    crop = view.fit.crop
    for one in kept.tolist():
        box = view.fit.transform.box_to_frame(Box(*one))
        x0, y0, x1, y1 = max(box.x0, crop.x), max(box.y0, crop.y), min(box.x1, crop.x1), min(box.y1, crop.y1)
        if x0 < x1 and y0 < y1:
            wanted.append(Box(x0, y0, x1, y1))
    assert [found.box for found in decoder.decode(outputs, specs, view).boxes] == wanted
