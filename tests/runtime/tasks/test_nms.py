"""Non-maximum suppression against the textbook's loop over all pairs."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.tasks.nms import best_first, suppress

coordinate = st.integers(0, 12)
boxes_and_labels = st.lists(
    st.tuples(coordinate, coordinate, st.integers(0, 8), st.integers(0, 8), st.integers(0, 2)), max_size=25
)


def plain(boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], iou: float) -> list[int]:
    """Keep a box unless a kept one of its class overlaps it by more."""
    kept: list[int] = []
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        for j in kept:
            a0, b0, a1, b1 = boxes[j].tolist()
            shared = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - shared
            if labels[i] == labels[j] and union > 0 and shared / union > iou:
                break
        else:
            kept.append(i)
    return kept


def arrays(
    found: list[tuple[int, int, int, int, int]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rows = np.array(found, np.float32).reshape(-1, 5)
    return np.hstack((rows[:, :2], rows[:, :2] + rows[:, 2:4])), rows[:, 4].astype(np.int64)


# Thresholds that no ratio of small whole numbers meets exactly.
@given(boxes_and_labels, st.sampled_from([0.0001, 0.3001, 0.5001, 0.9999]), st.integers(1, 30))
def test_it_does_what_the_textbook_does(
    found: list[tuple[int, int, int, int, int]], iou: float, limit: int
) -> None:
    boxes, labels = arrays(found)
    assert suppress(boxes, labels, iou, limit).tolist() == plain(boxes, labels, iou)[:limit]


def test_an_overlap_at_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 2, 1], [1, 0, 2, 1]], np.float32)
    labels = np.zeros(2, np.int64)
    assert suppress(boxes, labels, 0.5, 10).tolist() == [0, 1]
    assert suppress(boxes, labels, 0.499, 10).tolist() == [0]


def test_another_class_is_left_alone() -> None:
    boxes = np.array([[0, 0, 2, 2]] * 3, np.float32)
    assert suppress(boxes, np.array([0, 1, 0]), 0.5, 10).tolist() == [0, 1]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), max_size=50), st.integers(1, 60))
def test_the_best_come_first_and_equal_ones_in_order(scores: list[float], limit: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:limit]
    assert best_first(np.array(scores, np.float32), limit).tolist() == expected
