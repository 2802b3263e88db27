import numpy as np
import pytest

from bedside.export.adopt.preprocessing import NAMES, Preprocessing, named, scaled, standardized
from bedside.runtime.errors import UsageError


def applied(preprocessing: Preprocessing, pixel: float) -> list[float]:
    scale, offset = preprocessing.arrays(3)
    return (np.full(3, pixel, np.float32) * scale + offset).tolist()


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("none", [0, 0, 0], [255, 255, 255]),
        ("unit", [0, 0, 0], [1, 1, 1]),
        ("symmetric", [-1, -1, -1], [1, 1, 1]),
    ],
)
def test_range(name: str, black: list[float], white: list[float]) -> None:
    assert applied(named(name), 0) == pytest.approx(black, abs=1e-6)
    assert applied(named(name), 255) == pytest.approx(white, rel=1e-6)


def test_imagenet_is_torch_s_normalization_in_the_model_s_channel_order() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (100 / 255 - mean) / std
    assert applied(named("imagenet"), 100) == pytest.approx(wanted.tolist(), rel=1e-5)
    assert applied(named("imagenet", "bgr"), 100) == pytest.approx(wanted[::-1].tolist(), rel=1e-5)
    assert named("imagenet").color == "rgb"
    assert named("imagenet", "bgr").color == "bgr"


def test_caffe_subtracts_the_bgr_mean_and_is_bgr() -> None:
    assert applied(named("caffe"), 0) == pytest.approx([-103.939, -116.779, -123.68], rel=1e-6)
    assert named("caffe").color == "bgr"


def test_explicit() -> None:
    assert applied(scaled(0.5, -3.0), 10) == [2.0, 2.0, 2.0]
    assert applied(standardized([10, 20, 30], [2, 4, 5]), 30) == pytest.approx([10, 2.5, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: named("tf"), "tf"),
        (lambda: named("caffe", "rgb"), "bgr"),
        (lambda: named("imagenet", "gray"), "three channels"),
        (lambda: scaled(0.0), "no scaling"),
        (lambda: scaled(float("nan")), "no scaling"),
        (lambda: standardized([1, 2, 3], [1, 2]), "3 values"),
        (lambda: standardized([1, 2], [1, 2]), "2 values"),
        (lambda: standardized([100], [0]), "positive"),
        (lambda: standardized([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "0..1"),
        (lambda: named("imagenet").arrays(1), "1 channels"),
    ],
)
def test_refused(make: object, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_all_known() -> None:
    assert [named(name).name for name in NAMES] == list(NAMES)
