from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bedside.export.convert.calibration import (
    ENOUGH,
    Calibration,
    calibrate,
    calibration_latents,
    draw,
    with_extremes,
)
from bedside.export.data.types import DataSet, Item
from bedside.runtime.bundle.manifest import InputSpec

SPEC = InputSpec(width=16, height=16)


def item(label: int, group: str, number: int) -> Item:
    return Item(
        key=f"{group}/{number}", label=label, group=group, load=lambda: pytest.fail("read"), sha256=""
    )


def test_extremes_are_added() -> None:
    frames = with_extremes(np.full((3, 4, 5, 1), 90, np.uint8))
    assert frames.shape == (5, 4, 5, 1)
    assert frames[3].max() == 0
    assert frames[4].min() == 255


def test_classes_and_groups_take_turns() -> None:
    cine = tuple(item(0, "cine", i) for i in range(500))
    others = tuple(item(0, f"patient{i}", 0) for i in range(4))
    rare = tuple(item(1, "rare", i) for i in range(10))
    drawn = draw(cine + others + rare, 20, seed=1)
    assert Counter(i.label for i in drawn) == {0: 10, 1: 10}
    assert Counter(i.group for i in drawn)["cine"] == 6, "every other group came first"
    assert len({i.key for i in drawn}) == 20


def test_the_draw_follows_the_seed_and_stops_at_what_there_is() -> None:
    items = tuple(item(i % 2, f"g{i}", i) for i in range(40))
    assert draw(items, 10, seed=1) == draw(items, 10, seed=1)
    assert draw(items, 10, seed=1) != draw(items, 10, seed=2)
    assert sorted(i.key for i in draw(items, 1000, seed=1)) == sorted(i.key for i in items)


def test_only_training_frames_are_used(data: DataSet) -> None:
    calls: list[tuple[int, int]] = []
    calibration = calibrate(data.train, SPEC, 12, 1, lambda done, total: calls.append((done, total)))
    own = {i.load()[0].tobytes() for i in data.train.items}
    assert calibration.samples == 12
    assert len(calibration.frames) == 14
    assert {frame.tobytes() for frame in calibration.frames[:12]} <= own
    assert calls[-1] == (12, 12)
    with pytest.raises(ValueError, match="holdout"):
        calibrate(data.holdout, SPEC, 12, 1)


def test_a_small_set_is_said(data: DataSet) -> None:
    assert "12 training frames" in calibrate(data.train, SPEC, 12, 1).note
    assert calibrate(data.train, SPEC, ENOUGH, 1).note == ""


def test_frames_at_hand_get_their_extremes_and_say_where_they_come_from() -> None:
    drawn = np.full((5, 16, 16, 3), 90, np.uint8)
    calibration = Calibration.from_frames(drawn, "drawn by a DCGAN; no patient image")
    assert calibration.frames.shape == (7, 16, 16, 3)
    assert (calibration.frames[5].max(), calibration.frames[6].min()) == (0, 255)
    assert (calibration.samples, calibration.note) == (5, "drawn by a DCGAN; no patient image")


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((5, 16, 16, 3), np.float32),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((0, 16, 16, 3), np.uint8),
    ],
)
def test_what_is_no_frames_is_refused(frames: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H, W, C\) uint8"):
        Calibration.from_frames(frames, "")


def test_latents_are_standard_normal_and_follow_the_seed() -> None:
    calibration = calibration_latents(100, 400, 1)
    assert (calibration.frames.shape, calibration.frames.dtype) == ((400, 100), np.float32)
    assert calibration.frames.mean() == pytest.approx(0, abs=0.02)
    assert calibration.frames.std() == pytest.approx(1, abs=0.02)
    assert (calibration_latents(100, 400, 1).frames == calibration.frames).all()
    assert not (calibration_latents(100, 400, 2).frames == calibration.frames).all()
    assert calibration.note == ""
