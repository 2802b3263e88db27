"""Frame rates and time stamps of cines (PS3.3 C.7.6.5)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.tag import Tag

from bedside.runtime.dicom import DicomFrames, open_dicom

MakeDicom = Callable[..., Path]


def cine(make_dicom: MakeDicom, **attributes: Any) -> DicomFrames:
    return open_dicom(make_dicom(np.zeros((3, 4, 4), np.uint8), NumberOfFrames=3, **attributes))


@pytest.mark.parametrize(
    ("attributes", "fps", "origin", "stamps"),
    [
        ({"FrameTime": 40}, 25.0, "FrameTime", [0, 40_000_000, 80_000_000]),
        ({"FrameTimeVector": [0, 10, 30]}, 50.0, "FrameTimeVector", [0, 10_000_000, 40_000_000]),
        ({"CineRate": 50}, 50.0, "CineRate", [0, 20_000_000, 40_000_000]),
        # How fast to show frames is not when they were taken.
        ({"RecommendedDisplayFrameRate": 30}, 30.0, "RecommendedDisplayFrameRate", [None] * 3),
        ({}, None, None, [None] * 3),
        ({"FrameTime": 0, "CineRate": 20}, 20.0, "CineRate", [0, 50_000_000, 100_000_000]),
    ],
)
def test_where_the_rate_comes_from(
    make_dicom: MakeDicom,
    attributes: dict[str, Any],
    fps: float | None,
    origin: str | None,
    stamps: list[Any],
) -> None:
    with cine(make_dicom, **attributes) as frames:
        assert (frames.info.fps, frames.info.fps_origin) == (fps, origin)
        assert [frames.pts_ns(i) for i in range(3)] == stamps


def test_the_increment_pointer_decides(make_dicom: MakeDicom) -> None:
    both = {"FrameTime": 40, "FrameTimeVector": [0, 10, 10]}
    with cine(make_dicom, FrameIncrementPointer=Tag("FrameTimeVector"), **both) as frames:
        assert frames.info.fps == 100.0
    with cine(make_dicom, FrameIncrementPointer=Tag("FrameTime"), **both) as frames:
        assert frames.info.fps == 25.0


@pytest.mark.parametrize("vector", [[0, 10], [0, 10, -10], [0, 0, 0]])
def test_a_vector_that_does_not_fit_is_ignored_and_said_so(make_dicom: MakeDicom, vector: list[int]) -> None:
    with cine(make_dicom, FrameTimeVector=vector, CineRate=25) as frames:
        assert frames.info.fps_origin == "CineRate"
        assert "FrameTimeVector" in frames.info.notes[0]
