"""Recordings made on the spot."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.runtime.frame import Pixels
from bedside.runtime.opencv import quiet_opencv

MakeVideo = Callable[..., Path]


def shade(index: int, height: int = 48, width: int = 64) -> Pixels:
    """A picture that says which one it is: a grey step by `index`, blue on the left."""
    pixels = np.full((height, width, 3), 20 + 9 * (index % 25), np.uint8)
    pixels[:, : width // 2] = (200, 60, 60)
    return pixels


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Write a video of `shade` pictures: `.webm` (VP8) or `.avi` (MJPEG)."""

    def make(
        count: int = 12, name: str = "clip.webm", fps: float = 25.0, height: int = 48, width: int = 64
    ) -> Path:
        path = tmp_path / name
        fourcc = cv2.VideoWriter.fourcc(*("VP80" if path.suffix == ".webm" else "MJPG"))
        with quiet_opencv():
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, (width, height))
        assert writer.isOpened()
        for index in range(count):
            writer.write(shade(index, height, width))
        writer.release()
        return path

    return make
