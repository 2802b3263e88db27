"""Items through the device's own preprocessing, and what happens to those that cannot be read."""

import numpy as np
import pytest

from bedside.export.data.reading import read_examples, read_pixels
from bedside.export.data.splitting import make_split
from bedside.export.data.types import Item
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import FrameError, RecipeError
from bedside.runtime.preprocess import Preprocessor

SPEC = InputSpec(width=8, height=6, resize="letterbox", pad=9)


def frame(value: int) -> np.ndarray:
    return np.full((20, 30, 3), value, np.uint8)


def item(key: str, label: int, load) -> Item:
    return Item(key, label, key, load, key)


def test_arrays_are_what_the_preprocessor_writes():
    values = (10, 200, 90)
    items = [item(f"k{v}", i, lambda v=v: (frame(v), "bgr")) for i, v in enumerate(values)]
    calls = []
    found = read_examples(
        make_split("train", items),
        Preprocessor(SPEC),
        SPEC,
        progress=lambda done, total: calls.append((done, total)),
    )
    x, y = found.x, found.y
    assert np.array_equal(read_pixels(make_split("train", items), Preprocessor(SPEC), SPEC), x)
    assert (x.shape, x.dtype, y.dtype) == ((3, 6, 8, 3), np.uint8, np.int64)
    assert y.tolist() == [0, 1, 2]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    expected = np.empty(SPEC.shape, np.uint8)
    for row, value in zip(x, values, strict=True):
        Preprocessor(SPEC)(frame(value), "bgr", expected)
        assert np.array_equal(row, expected[0])


def test_items_that_cannot_be_read_are_counted_and_named():
    def broken():
        raise RecipeError("is not an image that can be decoded", where="a/b.png")

    def wrong():
        raise FrameError("cannot decode frame 3")

    items = [
        item("fine", 0, lambda: (frame(1), "bgr")),
        item("a/b.png", 0, broken),
        item("c.dcm#3", 1, wrong),
    ]
    items += [item(f"more{n}", 1, broken) for n in range(4)]
    with pytest.raises(RecipeError) as caught:
        read_examples(make_split("holdout", items), Preprocessor(SPEC), SPEC)
    what = caught.value.what
    assert what.startswith("6 of 7 items of the holdout split cannot be read: ")
    assert "a/b.png: is not an image" in what
    assert "c.dcm#3: cannot decode frame 3" in what
    assert what.count("is not an image") == 2


def test_only_pixels_can_be_asked_for():
    for spec in (InputSpec(width=8, height=8, dtype="float32"), InputSpec(width=8, height=8, layout="nchw")):
        with pytest.raises(RecipeError, match="uint8 nhwc"):
            read_examples(make_split("train", []), Preprocessor(SPEC), spec)


def test_the_digest_of_a_split_covers_key_label_and_content():
    base = [
        Item("a", 0, "g", lambda: (frame(0), "bgr"), "s"),
        Item("b", 1, "g", lambda: (frame(0), "bgr"), "t"),
    ]
    digest = make_split("train", base).sha256
    for change in ({"key": "c"}, {"label": 1}, {"sha256": "u"}):
        fields = {"key": "a", "label": 0, "group": "g", "load": base[0].load, "sha256": "s"} | change
        assert make_split("train", [Item(**fields), base[1]]).sha256 != digest
    assert make_split("train", [Item("a", 0, "other", base[0].load, "s"), base[1]]).sha256 == digest
