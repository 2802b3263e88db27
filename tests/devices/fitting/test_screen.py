"""Where the image lies, held against screens whose geometry is known, and against real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bedside.devices.fitting import Evidence, ScreenFit, fit_screen, gather
from bedside.devices.sources import open_source
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic import EndoscopyScene, Scene, UltrasoundScene
from bedside.runtime.synthetic.furniture import text
from bedside.runtime.synthetic.scene import Mask
from bedside.runtime.testing.sources import ArraySource

FRAMES = 12


def fitted(frames: Sequence[Pixels]) -> tuple[Evidence, ScreenFit]:
    evidence = gather(ArraySource(frames))
    return evidence, fit_screen(evidence)


def box_of(mask: Mask) -> Rect:
    return Rect(*cv2.boundingRect(mask.astype(np.uint8)))


def iou(a: Rect, b: Rect) -> float:
    width = min(a.x1, b.x1) - max(a.x, b.x)
    height = min(a.y1, b.y1) - max(a.y, b.y)
    both = max(0, width) * max(0, height)
    return both / (a.width * a.height + b.width * b.height - both)


def covered(rects: Sequence[Rect], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape[:2], np.bool_)
    for rect in rects:
        mask[rect.y : rect.y1, rect.x : rect.x1] = True
    return mask


def drawn(scene: Scene) -> list[Pixels]:
    return [scene.render(5 * index) for index in range(FRAMES)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("preset", "shape"), [("abdomen", "sector"), ("heart", "sector"), ("superficial", "rectangle")]
)
def test_a_fan_is_found_with_its_letters(preset: str, shape: str, seed: int) -> None:
    scene = UltrasoundScene(width=960, height=540, seed=seed, preset=preset)  # type: ignore[arg-type]
    frames = drawn(scene)
    _, fit = fitted(frames)
    assert fit.sure, fit.doubts
    assert fit.shape == shape
    view = scene.truth(0).view
    assert fit.roi is not None
    assert iou(fit.roi, box_of(view)) > 0.95
    assert fit.moving > 0.8
    # What is drawn beside the fan does not reach the model.
    bright = (frames[0].max(axis=2) > 60) & ~cv2.dilate(view.astype(np.uint8), np.ones((9, 9))).astype(
        np.bool_
    )
    seen = covered([fit.roi], view.shape) & ~covered(fit.masks, view.shape)
    assert np.count_nonzero(bright & seen) <= 0.02 * np.count_nonzero(bright)
    # And nearly all of the fan does.
    assert np.count_nonzero(view & seen) > 0.99 * np.count_nonzero(view)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_picture_of_a_scope_is_found(seed: int) -> None:
    scene = EndoscopyScene(width=960, height=540, seed=seed)
    frames = drawn(scene)
    _, fit = fitted(frames)
    view = scene.truth(0).view
    corner = view[box_of(view).y :, box_of(view).x :][:12, :30]
    assert fit.sure, fit.doubts
    assert fit.shape in ("octagon", "circle") and not corner.all()
    assert fit.roi is not None
    assert iou(fit.roi, box_of(view)) > 0.97
    seen = covered([fit.roi], view.shape) & ~covered(fit.masks, view.shape)
    assert np.count_nonzero(view & seen) > 0.99 * np.count_nonzero(view)


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(
    st.integers(0, 2**16),
    st.sampled_from([(640, 480), (1280, 720), (720, 576)]),
    st.tuples(st.floats(0.02, 0.3), st.floats(0.12, 0.3), st.floats(0.4, 0.65), st.floats(0.4, 0.6)),
    st.integers(0, 40),
)
def test_a_rectangle_of_speckle_anywhere(
    seed: int, size: tuple[int, int], place: tuple[float, float, float, float], background: int
) -> None:
    """A linear probe's picture, with a header, a scale and a caption, on a black or a dark gray screen."""
    width, height = size
    truth = Rect(int(place[0] * width), int(place[1] * height), int(place[2] * width), int(place[3] * height))
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(6):
        canvas = np.full((height, width, 3), background, np.uint8)
        for at, words in (((5, height // 16), "DOE^JOHN 1970-01-01"), ((5, height - 8), "12 Hz  4.0 cm")):
            text(canvas, words, at, height / 50, (220, 220, 220))
        speckle = rng.rayleigh(45, (truth.height, truth.width)).clip(0, 255).astype(np.uint8)
        canvas[truth.y : truth.y1, truth.x : truth.x1] = speckle[:, :, None]
        frames.append(canvas)
    _, fit = fitted(frames)
    assert fit.sure, fit.doubts
    assert fit.shape == "rectangle"
    assert fit.roi is not None
    assert iou(fit.roi, truth) > 0.97
    # The name is masked, wherever the region of interest lies.
    letters = (frames[0].max(axis=2) > 150) & ~covered([truth], (height, width))
    assert np.count_nonzero(letters & ~covered(fit.masks, (height, width))) <= 0.05 * np.count_nonzero(
        letters
    )


def burned_in(frames: list[Pixels], words: str) -> Mask:
    ink = np.zeros_like(frames[0])
    text(ink, words, (520, 300), 14, (240, 240, 240))
    for frame in frames:
        np.maximum(frame, ink, out=frame)
    return np.asarray(ink.max(axis=2) > 200)


def test_letters_over_a_moving_picture_are_masked() -> None:
    scene = EndoscopyScene(width=960, height=540, seed=2)
    frames = drawn(scene)
    without = fitted(frames)[1]
    ink = burned_in(frames, "17/03/2014")
    fit = fitted(frames)[1]
    assert np.count_nonzero(ink & covered(fit.masks, ink.shape)) > 0.7 * np.count_nonzero(ink)
    assert np.count_nonzero(ink & covered(without.masks, ink.shape)) == 0


@pytest.mark.parametrize(
    "uri",
    ["nosignal", "bars", "blank?level=3", "blank?level=128", "document", "desktop", "gradient", "screen"],
)
def test_what_shows_no_image_is_doubted(uri: str) -> None:
    mark = "&" if "?" in uri else "?"
    fit = fit_screen(gather(open_source(f"synthetic:{uri}{mark}frames=8&size=640x480")))
    assert not fit.sure
    assert fit.roi is None and fit.masks == ()
    assert all(doubt and "\n" not in doubt for doubt in fit.doubts)


def test_a_small_area_is_no_image() -> None:
    canvas = np.zeros((480, 640, 3), np.uint8)
    rng = np.random.default_rng(0)
    canvas[200:300, 300:420] = rng.integers(60, 255, (100, 120, 1))
    fit = fitted([canvas])[1]
    assert not fit.sure
    assert "covers 4% of the frame" in fit.doubts[0]


def test_a_moving_picture_without_borders_needs_no_region() -> None:
    scene = EndoscopyScene(width=640, height=480, seed=1, furniture=False)
    view = box_of(scene.truth(0).view)
    inner = slice(view.y + 120, view.y1 - 120), slice(view.x + 120, view.x1 - 120)
    fit = fitted([np.ascontiguousarray(frame[inner]) for frame in drawn(scene)])[1]
    assert fit.sure
    assert (fit.shape, fit.roi) == ("whole", None)


def test_frames_of_another_size_are_left_out_and_counted() -> None:
    sizes = [(48, 64), (48, 64), (40, 64), (48, 64)]
    evidence = gather(ArraySource([np.zeros((*size, 3), np.uint8) for size in sizes]))
    assert (evidence.size, evidence.frames, evidence.other_sizes) == ((64, 48), 3, 1)


def test_frames_are_spread_over_a_recording() -> None:
    frames = [np.full((16, 16, 3), index, np.uint8) for index in range(100)]
    evidence = gather(ArraySource(frames), 10)
    assert (evidence.frames, evidence.darkest.max(), evidence.brightest.min()) == (10, 0, 90)


def test_unusable_frames_are_passed_over() -> None:
    frames = [np.full((16, 16, 3), index, np.uint8) for index in range(6)]
    assert gather(ArraySource(frames, unusable={0, 2})).frames == 4
    with pytest.raises(SourceError, match="no usable frame"):
        gather(ArraySource(frames, unusable=set(range(6))))


#: Region of interest as read off the pictures by eye.
REAL = {
    "clips/clarius-ocular-short.mp4": ("rectangle", Rect(262, 86, 756, 790)),
    "clips/butterfly-ocular-phantom.mp4": ("rectangle", Rect(80, 200, 608, 690)),
    "clips/sonosite-anon-eye1-video.mp4": ("rectangle", Rect(386, 42, 336, 600)),
    "dicom/JPGLosslessP14SV1_1s_1f_8b.dcm": ("sector", Rect(160, 162, 740, 465)),
    "dicom/US1_UNCR.dcm": ("rectangle", Rect(8, 108, 616, 230)),
    "dicom/examples_ybr_color.dcm": ("sector", Rect(42, 22, 216, 184)),
    "dicom/sonoque_axial-lateral-resolution-2020.dcm": ("rectangle", Rect(374, 270, 1336, 1145)),
    "muscle/gastrocnemius_video": ("rectangle", Rect(110, 60, 580, 462)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_scanners(name: str, data_root: Path) -> None:
    shape, truth = REAL[name]
    fit = fit_screen(gather(open_source(str(data_root / "ultrasound" / name))))
    assert fit.sure, fit.doubts
    assert fit.shape == shape
    assert fit.roi is not None
    assert iou(fit.roi, truth) > 0.93


@pytest.mark.parametrize("name", ["dicom/examples_palette.dcm", "dicom/gdcm-US-ALOKA-16.dcm"])
def test_real_screens_that_are_doubted(name: str, data_root: Path) -> None:
    """A fan of which only the near field is lit, and two fans under one header."""
    assert not fit_screen(gather(open_source(str(data_root / "ultrasound" / name)))).sure


def test_real_scopes(data_root: Path) -> None:
    """Cut corners, and sequences of which every pixel is tissue."""
    polyps = fit_screen(gather(open_source(str(data_root / "endoscopy" / "polyp" / "images"))))
    assert (polyps.sure, polyps.shape, polyps.roi) == (True, "octagon", None)
    larynx = fit_screen(gather(open_source(str(data_root / "endoscopy" / "larynx" / "images" / "seq1"))))
    assert (larynx.sure, larynx.shape, larynx.roi) == (True, "whole", None)
