from typing import Any

import numpy as np
import pytest

from bedside.export.adopt.graph import Adopted
from bedside.export.adopt.graph import adopt as adopt_any
from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import named
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import DetectionDecode
from bedside.runtime.errors import UsageError

L = keras.layers
SHAPE = (16, 16, 3)
AB = ("a", "b")


def rows(channels: int, activation: str = "sigmoid", count: int = 5, name: str | None = None) -> Any:
    """A head that gives `(N, count, channels)`."""

    def head(x: Any) -> Any:
        x = L.Reshape((count, channels))(L.Dense(count * channels)(L.Flatten()(x)))
        return L.Activation(activation, name=name)(x)

    return head


def grid(channels: int, activation: Any = "sigmoid", stride: int = 4) -> Any:
    """A head that gives `(N, 16 / stride, 16 / stride, channels)`."""
    return L.Conv2D(channels, stride, strides=stride, activation=activation)


def network(*heads: Any, keys: tuple[str, ...] = ()) -> Any:
    keras.utils.set_random_seed(0)
    pixels = keras.Input(SHAPE)
    outputs = [head(pixels) for head in heads]
    return keras.Model(pixels, dict(zip(keys, outputs, strict=True)) if keys else outputs)


def adopt(model: Any, labels: tuple[str, ...] = AB, **said: Any) -> Adopted:
    return adopt_any(model, "detection", labels, preprocessing=named("unit"), options=AdoptOptions(**said))


def predicted(adopted: Adopted, model: Any) -> tuple[Any, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)
    found = adopted.model.predict(pixels)
    wanted = model((pixels / 255).astype(np.float32))
    return found, {k: keras.ops.convert_to_numpy(v) for k, v in wanted.items()} if isinstance(
        wanted, dict
    ) else [keras.ops.convert_to_numpy(v) for v in wanted]


@pytest.mark.parametrize("swapped", [False, True])
def test_either_order(swapped: bool) -> None:
    heads = (rows(2), rows(4)) if swapped else (rows(4), rows(2))
    model = network(*heads)
    adopted = adopt(model, coding="cxcywh")
    assert adopted.decode == DetectionDecode(labels=AB, coding="cxcywh")
    assert adopted.model.outputs == ("boxes", "scores")
    found, wanted = predicted(adopted, model)
    for here, there in zip(found, wanted[::-1] if swapped else wanted, strict=True):
        assert here == pytest.approx(there, abs=1e-5)


def test_names_tell_what_shapes_do_not() -> None:
    four = ("a", "b", "c", "d")
    heads = (rows(4), rows(4))
    model = network(*heads, keys=("class_probabilities", "boxes_xyxy"))
    adopted = adopt(model, four)
    assert adopted.decode == DetectionDecode(labels=four, coding="xyxy")
    found, wanted = predicted(adopted, model)
    assert found[0] == pytest.approx(wanted["boxes_xyxy"], abs=1e-5)
    with pytest.raises(UsageError, match="either may be the boxes"):
        adopt(network(*heads), four, coding="xyxy")
    stated = adopt(network(*heads), four, coding="xyxy", boxes=(1,), box_scores=(0,))
    assert stated.decode == DetectionDecode(labels=four)


def test_levels_of_a_grid() -> None:
    model = network(grid(2), grid(4, "softplus"), grid(4, "relu", 8), grid(2, "sigmoid", 8))
    adopted = adopt(model, threshold=0.2, iou=0.6, limit=7)
    assert adopted.decode == DetectionDecode(
        labels=AB,
        boxes=(0, 2),
        scores=(1, 3),
        coding="ltrb",
        units="cells",
        threshold=0.2,
        iou=0.6,
        limit=7,
    )
    assert adopted.model.outputs == ("boxes0", "scores0", "boxes1", "scores1")
    found, wanted = predicted(adopted, model)
    for here, place in zip(found, (1, 0, 2, 3), strict=True):
        assert here == pytest.approx(wanted[place], abs=1e-5)


def test_a_grid_of_boxes_becomes_rows() -> None:
    model = network(grid(4), grid(2))
    adopted = adopt(model, coding="cxcywh")
    assert adopted.decode == DetectionDecode(labels=AB, coding="cxcywh")
    found, wanted = predicted(adopted, model)
    assert found[0] == pytest.approx(wanted[0].reshape(2, 16, 4), abs=1e-5)
    assert found[1] == pytest.approx(wanted[1].reshape(2, 16, 2), abs=1e-5)


def test_one_box_per_frame() -> None:
    model = network(lambda x: rows(4, count=1)(x)[:, 0], lambda x: rows(2, "softmax", 1)(x)[:, 0])
    adopted = adopt(model, coding="xyxy")
    assert [t.shape for t in adopted.model.uint8.outputs] == [(1, 1, 4), (1, 1, 2)]


def test_a_background_and_logits_as_stated() -> None:
    model = network(rows(4), rows(3, "linear"))
    adopted = adopt(model, coding="cxcywh", activation="softmax", background="last", iou=None)
    assert adopted.decode == DetectionDecode(
        labels=AB, coding="cxcywh", activation="softmax", background="last", iou=None
    )


def test_pixels_as_stated() -> None:
    decode = adopt(network(rows(4, "linear"), rows(2)), coding="yxyx", units="pixels").decode
    assert decode == DetectionDecode(labels=AB, coding="yxyx", units="pixels")


def test_outputs_beside_the_named_ones_are_left_out() -> None:
    model = network(rows(4), rows(2), rows(4), rows(2), keys=("boxes", "scores", "aux_boxes", "aux_scores"))
    adopted = adopt(model, coding="cxcywh", boxes=("boxes",), box_scores=("scores",))
    assert adopted.model.outputs == ("boxes", "scores")
    assert any("'aux_boxes'" in note for note in adopted.notes)


REFUSED = {
    "no coding": (lambda: adopt(network(rows(4), rows(2))), "corners or centres"),
    "no units": (
        lambda: adopt(network(rows(4, "linear"), rows(2)), coding="xyxy"),
        "--units normalized|pixels",
    ),
    "no activation": (
        lambda: adopt(network(rows(4), rows(2, "linear")), coding="xyxy"),
        "--activation none|sigmoid|softmax",
    ),
    "activation twice": (
        lambda: adopt(network(rows(4), rows(2)), coding="xyxy", activation="sigmoid"),
        "leave --activation out",
    ),
    "logits that are called scores": (
        lambda: adopt(
            network(rows(4), lambda x: rows(2, "linear")(x) * 50.0), coding="xyxy", activation="none"
        ),
        "expected 0..1",
    ),
    "background": (lambda: adopt(network(rows(4), rows(3)), coding="xyxy"), "--background first|last"),
    "background that is not there": (
        lambda: adopt(network(rows(4), rows(2)), coding="xyxy", background="first"),
        "2 scores per box for 2 labels, --background says first",
    ),
    "one tensor": (lambda: adopt(network(rows(6)), coding="xyxy"), "out[..., :4]"),
    "unpaired": (lambda: adopt(network(rows(4), rows(2), rows(2)), coding="xyxy"), "in pairs"),
    "wrong number of classes": (lambda: adopt(network(rows(4), rows(7)), coding="xyxy"), "2 or 3 scores"),
    "no boxes": (lambda: adopt(network(rows(5), rows(2)), coding="xyxy"), "4 sides of a box"),
    "ltrb in rows": (lambda: adopt(network(rows(4), rows(2)), coding="ltrb"), "the grid that they belong to"),
    "negative distances": (lambda: adopt(network(grid(4, None), grid(2))), "they are at least 0"),
    "cells of corners": (
        lambda: adopt(network(rows(4), rows(2)), coding="xyxy", units="cells"),
        "only ltrb is measured in cells",
    ),
    "pixels in a sigmoid": (
        lambda: adopt(network(rows(4), rows(2)), coding="xyxy", units="pixels"),
        "leave --units out",
    ),
    "normalized, far out": (
        lambda: adopt(
            network(lambda x: rows(4, "linear")(x) * 500.0, rows(2)), coding="xyxy", units="normalized"
        ),
        "--units pixels",
    ),
    "levels that differ": (
        lambda: adopt(network(rows(4), rows(2), grid(4, "relu"), grid(2))),
        "corners or centres",
    ),
    "levels of two codings": (
        lambda: adopt(
            network(
                *(rows(4, count=2), rows(2, count=2), rows(4, count=3), rows(2, count=3)),
                keys=("xyxy", "a", "cxcywh", "b"),
            )
        ),
        "the levels differ in coding: xyxy, cxcywh",
    ),
    "too many levels": (
        lambda: adopt(network(*(rows(k, count=n) for n in range(1, 10) for k in (4, 2))), coding="cxcywh"),
        "has 9 levels, at most 8",
    ),
    "named badly": (
        lambda: adopt(network(rows(4), rows(2)), coding="xyxy", boxes=(1,), box_scores=(0,)),
        "do not belong together",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--help-outputs" in str(caught.value)
