"""Latents: drawn anew for every frame, and again in another run."""

from typing import Any

import numpy as np
import pytest

from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.geometry import Rect
from bedside.runtime.latent import LatentDrawer, make_preprocess
from bedside.runtime.preprocess import Preprocessor

SPEC = InputSpec(width=28, height=28, dtype="float32", latent=100)
FRAME = np.zeros((48, 64, 3), np.uint8)


def drawn(fill: Any, count: int) -> np.ndarray:
    rows = []
    for _ in range(count):
        out = np.empty(SPEC.shape, np.float32)
        fill(FRAME, "bgr", out)
        rows.append(out[0])
    return np.stack(rows)


def test_every_frame_has_its_own_and_a_run_can_be_repeated() -> None:
    first = drawn(make_preprocess(SPEC), 5)
    np.testing.assert_array_equal(first, drawn(make_preprocess(SPEC), 5))
    np.testing.assert_array_equal(first, LatentDrawer(SPEC).draw(5))
    assert len(np.unique(first)) == first.size
    assert not np.isin(drawn(make_preprocess(SPEC, seed=1), 5), first).any()


def test_they_are_standard_normal() -> None:
    numbers = LatentDrawer(SPEC, seed=7).draw(1_000).reshape(-1).astype(np.float64)
    n = len(numbers)
    # Five standard errors; the seed is fixed.
    assert abs(numbers.mean()) < 5 / np.sqrt(n)
    assert abs(numbers.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((numbers**4).mean() - 3) < 5 * np.sqrt(96 / n)


def test_the_frame_lies_over_the_whole_picture() -> None:
    fill, out = make_preprocess(SPEC), np.empty(SPEC.shape, np.float32)
    fit = fill(FRAME, "bgr", out)
    assert (fit.crop, fit.size) == (Rect(0, 0, 64, 48), (28, 28))
    assert fill(FRAME, "bgr", out) is fit
    assert fill(np.zeros((10, 20, 1), np.uint8), "gray", out).crop == Rect(0, 0, 20, 10)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 99), np.float32), ((1, 100), np.float64), ((100,), np.float32)]
)
def test_another_buffer_is_refused(shape: tuple[int, ...], dtype: Any) -> None:
    with pytest.raises(EngineError, match=r"the manifest says \[1, 100\] float32"):
        make_preprocess(SPEC)(FRAME, "bgr", np.empty(shape, dtype))


def test_pictures_go_through_the_preprocessor() -> None:
    plain = InputSpec(width=8, height=8)
    made = make_preprocess(plain, roi=Rect(0, 0, 4, 4), masks=[Rect(0, 0, 1, 1)])
    assert isinstance(made, Preprocessor)
    assert (made.roi, made.masks) == (Rect(0, 0, 4, 4), (Rect(0, 0, 1, 1),))
    with pytest.raises(BundleError, match="no picture"):
        Preprocessor(SPEC)
    with pytest.raises(BundleError, match="float32 numbers"):
        LatentDrawer(plain)
