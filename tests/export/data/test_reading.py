"""Targets land where their pixels land: masks, boxes and pictures through the same geometry as the frame."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.export.data.reading import load_with_target, read_examples, read_targets
from bedside.export.data.splitting import make_split
from bedside.export.data.types import UNJUDGED, BoxesTarget, Item, MaskTarget, PictureTarget, Target
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import RecipeError
from bedside.runtime.preprocess import Preprocessor


def item(pixels: np.ndarray, target: Target | None, key: str = "k") -> Item:
    return Item(key, 0, key, lambda: (pixels, "bgr"), key, target=None if target is None else lambda: target)


def read(spec: InputSpec, *items: Item) -> Any:
    return read_examples(make_split("train", items), Preprocessor(spec), spec)


def scene(
    width: int, height: int, box: tuple[int, int, int, int]
) -> tuple[np.ndarray, MaskTarget, BoxesTarget]:
    """A white rectangle on black, and the truth about it."""
    x0, y0, x1, y1 = box
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y0:y1, x0:x1] = 255
    boxes = BoxesTarget(np.array([box], np.float32), np.array([2], np.int64))
    return pixels, MaskTarget((pixels[:, :, 0] > 0).astype(np.uint8)), boxes


@given(
    width=st.integers(20, 90),
    height=st.integers(20, 90),
    place=st.tuples(*[st.floats(0, 1)] * 4),
    resize=st.sampled_from(["stretch", "letterbox", "crop"]),
)
def test_masks_and_boxes_follow_the_frame(width: int, height: int, place: tuple[float, ...], resize: Any):
    x0, y0 = int(place[0] * (width - 8)), int(place[1] * (height - 8))
    x1 = x0 + 6 + int(place[2] * (width - x0 - 6))
    y1 = y0 + 6 + int(place[3] * (height - y0 - 6))
    pixels, mask, boxes = scene(width, height, (x0, y0, x1, y1))
    # Not by area: enlarging along one axis, OpenCV's area form leaves the grid by up to half a pixel.
    spec = InputSpec(width=48, height=32, resize=resize, interpolation="linear", pad=0)
    one, two = read(spec, item(pixels, mask)), read(spec, item(pixels, boxes))
    classes, found = one.targets[0].classes, two.targets[0]
    assert classes.shape == (32, 48)
    inner = one.fits[0].inner
    padding = np.ones((32, 48), bool)
    padding[inner.y : inner.y1, inner.x : inner.x1] = False
    assert (classes[padding] == UNJUDGED).all()
    assert set(np.unique(classes[~padding])) <= {0, 1}
    # Pixels that are clearly in or out of the rectangle in the model's input are so in the mask.
    level = one.x[0, :, :, 0]
    sure = ~padding & ((level < 60) | (level > 195))
    assert np.array_equal(classes[sure] == 1, level[sure] > 127)
    if not len(found.boxes):
        assert (classes[~padding] == 0).all()
        return
    a, b, c, d = found.boxes[0]
    assert found.labels.tolist() == [2]
    assert inner.x <= a < c <= inner.x1
    assert inner.y <= b < d <= inner.y1
    rows, columns = np.nonzero(classes == 1)
    if len(rows):
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(edges) - [a, b, c, d]).max() <= 0.51


def test_pictures_go_through_the_preprocessor():
    rng = np.random.default_rng(0)
    frame, wanted = (rng.integers(0, 256, (20, 30, 3), np.uint8) for _ in range(2))
    spec = InputSpec(width=8, height=6, channels=1, color="gray", resize="letterbox", pad=9)
    target = read(spec, item(frame, PictureTarget(wanted, "bgr"))).targets[0]
    expected = np.empty(spec.shape, np.uint8)
    Preprocessor(spec)(wanted, "bgr", expected)
    assert isinstance(target, PictureTarget)
    assert target.color == "gray"
    assert np.array_equal(target.pixels, expected[0])


def test_unjudged_pixels_stay_unjudged():
    classes = np.full((20, 30), UNJUDGED, np.uint8)
    spec = InputSpec(width=15, height=10)
    assert (
        read(spec, item(np.zeros((20, 30, 3), np.uint8), MaskTarget(classes))).targets[0].classes == 255
    ).all()


def test_everything_is_in_the_order_of_the_items_and_each_frame_is_read_once():
    calls: list[str] = []

    def one(key: str, level: int) -> Item:
        def load() -> tuple[np.ndarray, str]:
            calls.append(key)
            return np.full((9, 9, 3), level, np.uint8), "bgr"

        return Item(key, level, key, load, key, target=lambda: MaskTarget(np.full((9, 9), level, np.uint8)))

    spec = InputSpec(width=9, height=9)
    split = make_split("train", [one("a", 3), one("b", 1)])
    done: list[tuple[int, int]] = []
    examples = read_examples(split, Preprocessor(spec), spec, lambda *progress: done.append(progress))
    assert calls == ["a", "b"]
    assert done == [(1, 2), (2, 2)]
    assert examples.y.tolist() == [3, 1]
    assert [int(x.max()) for x in examples.x] == [int(t.classes.max()) for t in examples.targets] == [3, 1]
    again = read_targets(split, Preprocessor(spec), spec)
    assert [int(t.classes.max()) for t in again] == [3, 1]


def test_items_without_a_target_have_none_and_mixtures_are_refused():
    frame = np.zeros((9, 9, 3), np.uint8)
    spec = InputSpec(width=9, height=9)
    assert read(spec, item(frame, None)).targets == ()
    mask = MaskTarget(np.zeros((9, 9), np.uint8))
    with pytest.raises(RecipeError, match="1 items have no target, others have"):
        read(spec, item(frame, None), item(frame, mask, "m"))


def test_what_does_not_fit_its_frame_is_named_and_counted():
    frame = np.zeros((20, 30, 3), np.uint8)
    small = MaskTarget(np.zeros((20, 29), np.uint8))
    with pytest.raises(RecipeError, match=r"m: the mask is 29x20, its frame 30x20 pixels"):
        load_with_target(item(frame, small, "m"))
    far = BoxesTarget(np.array([[1, 2, 31, 4]], np.float32), np.array([0]))
    with pytest.raises(RecipeError, match=r"b: the box \[1, 2, 31, 4\] does not lie in its frame of 30x20"):
        load_with_target(item(frame, far, "b"))
    with pytest.raises(RecipeError, match=r"2 of 3 items of the train split cannot be read: m: the mask"):
        fine = item(frame, MaskTarget(np.zeros((20, 30), np.uint8)), "f")
        read(InputSpec(width=9, height=9), fine, item(frame, small, "m"), item(frame, far, "n"))


def test_the_nearest_pixel_is_the_one_under_the_centre():
    """Plain nearest would take the top left of every block: half a step off from the frame's own pixels."""
    classes = np.arange(16, dtype=np.uint8).reshape(4, 4).repeat(3, 0).repeat(3, 1)
    classes[::3] = classes[:, ::3] = 99
    frame = np.zeros((12, 12, 3), np.uint8)
    target = read(InputSpec(width=4, height=4), item(frame, MaskTarget(classes))).targets[0]
    assert target.classes.ravel().tolist() == list(range(16))
    assert not np.array_equal(cv2.resize(classes, (4, 4), interpolation=cv2.INTER_NEAREST), target.classes)
