from collections import Counter

import numpy as np
import pytest

from bedside.export.convert.calibration import ENOUGH, calibrate, draw, with_extremes
from bedside.export.data.types import ClassificationData, Item
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


def test_only_training_frames_are_used(data: ClassificationData) -> None:
    calls: list[tuple[int, int]] = []
    calibration = calibrate(data.train, SPEC, 12, 1, lambda done, total: calls.append((done, total)))
    own = {i.load()[0].tobytes() for i in data.train.items}
    assert calibration.samples == 12
    assert len(calibration.frames) == 14
    assert {frame.tobytes() for frame in calibration.frames[:12]} <= own
    assert calls[-1] == (12, 12)
    with pytest.raises(ValueError, match="holdout"):
        calibrate(data.holdout, SPEC, 12, 1)


def test_a_small_set_is_said(data: ClassificationData) -> None:
    assert "12 training frames" in calibrate(data.train, SPEC, 12, 1).note
    assert calibrate(data.train, SPEC, ENOUGH, 1).note == ""
