"""Average precision against COCO's own code."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from bedside.export.metrics.precision import OVERLAPS, Found, average_precision, iou, match

LABELS = (0, 1)


def scene(seed: int, pictures: int = 12) -> tuple[list[Found], list[Found]]:
    """Answers around the truth: some shifted, some missing, some invented, some of the wrong class."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 80, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)
        labels = rng.integers(0, 2, count)
        truths.append(Found(boxes, np.ones(count, np.float32), labels))
        kept = rng.random(count) < 0.8
        moved = boxes[kept] + rng.normal(0, 2.5, (int(kept.sum()), 4)).astype(np.float32)
        low = rng.uniform(0, 80, (3, 2))
        invented = np.concatenate([low, low + rng.uniform(5, 40, (3, 2))], axis=1)
        every = np.concatenate([moved, moved + 1, invented]).astype(np.float32)
        every[:, 2:] = np.maximum(every[:, 2:], every[:, :2] + 1)
        kinds = np.concatenate([labels[kept], labels[kept], rng.integers(0, 2, 3)])
        scores = rng.permutation(np.linspace(0.05, 0.95, 400))[: len(every)].astype(np.float32)
        found.append(Found(every, scores, kinds))
    return found, truths


def by_coco(found: list[Found], truths: list[Found]) -> np.ndarray:
    """Per overlap and class, -1 where there is none."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def rows(pictures: list[Found], extra: Any) -> list[dict[str, Any]]:
        return [
            {
                "image_id": i,
                "category_id": int(label) + 1,
                "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])],
                **extra(b, float(score)),
            }
            for i, picture in enumerate(pictures)
            for b, score, label in zip(picture.boxes, picture.scores, picture.labels, strict=True)
        ]

    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        annotations = rows(truths, lambda b, s: {"iscrowd": 0, "area": float((b[2] - b[0]) * (b[3] - b[1]))})
        truth.dataset = {
            "images": [{"id": i} for i in range(len(truths))],
            "annotations": [a | {"id": n + 1} for n, a in enumerate(annotations)],
            "categories": [{"id": k + 1} for k in LABELS],
        }
        truth.createIndex()
        run = evaluation.COCOeval(truth, truth.loadRes(rows(found, lambda b, s: {"score": s})), "bbox")
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"])[:, :, :, 0, 2].mean(axis=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(6))
def test_it_is_cocos(seed: int) -> None:
    found, truths = scene(seed)
    expected = by_coco(found, truths)
    for k in LABELS:
        own = average_precision([match(f, t, k) for f, t in zip(found, truths, strict=True)])
        assert own == pytest.approx(expected[:, k], abs=1e-5)
        assert 0.05 < own[0] < 0.99, "neither trivial nor perfect"
    assert len(OVERLAPS) == 10


def test_perfect_and_empty_answers() -> None:
    _, truths = scene(3)
    assert average_precision([match(t, t, 0) for t in truths]).tolist() == [1.0] * 10
    none = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert average_precision([match(none, t, 0) for t in truths]).tolist() == [0.0] * 10
    assert np.isnan(average_precision([match(t, none, 0) for t in truths])).all()


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [9, 9, 10, 10]], np.float32)
    assert iou(a, b) == pytest.approx(np.array([[1 / 7, 1.0, 0.0], [0.0, 0.0, 0.0]]))
