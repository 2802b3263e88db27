"""The starter bundles of the other tasks, on holdout frames that their recipes name, and on foreign ones."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from bedside.devices.compose import PipelineSpec, Stream
from bedside.devices.sinks.memory import ListSink
from bedside.devices.starters import resolve, starter_names
from bedside.export.data.loading import load_data
from bedside.export.data.types import BoxesTarget, MaskTarget, Split
from bedside.export.recipe_loading import load_recipe
from bedside.runtime import engines
from bedside.runtime.answers import Detections, Reconstruction, Segmentation
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.drawing import draw
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.loading import open_session
from bedside.runtime.result import Outcome, Result, Withheld

SHIPPED = (
    "colon-autoencoder",
    "larynx-segmentation",
    "nerve-segmentation",
    "polyp-detection",
    "polyp-segmentation",
    "ultrasound-gan",
)


def run(bundle: str, source: str, **settings: int) -> list[Result]:
    sink = ListSink()
    summary = Stream(PipelineSpec(bundle=bundle, source=source, **settings), sinks=[sink]).run()
    assert summary.error is None
    return list(sink.results)


def holdout(bundle: str, data_root: Path) -> Split:
    """As the bundle was judged on: its provenance has the same digest."""
    recipe, _ = load_recipe(bundle)
    split = load_data(recipe.data, seed=recipe.seed, root=data_root).holdout
    with open_bundle(resolve(bundle)) as opened:
        recorded = {s.name: s.sha256 for s in opened.manifest.provenance.splits}
    assert recorded["holdout"] == split.sha256
    return split


def frames(split: Split, folder: Path, count: int) -> Path:
    """Frames of a split as files, in order."""
    folder.mkdir(exist_ok=True)
    for index, item in enumerate(split.items[:count]):
        pixels, color = item.load()
        cv2.imwrite(str(folder / f"{index:04d}.png"), pixels if color != "rgb" else pixels[:, :, ::-1])
    return folder


def drawn(result: Segmentation, label: int, shape: tuple[int, int]) -> np.ndarray:
    """A region as a mask, from its outlines."""
    mask = np.zeros(shape, np.uint8)
    for region in result.regions:
        if region.index == label:
            outlines = [np.rint(np.array(c) - 0.5).astype(np.int32) for c in region.contours]
            cv2.fillPoly(mask, outlines, 1)  # several outlines at once: even-odd
    return mask


@pytest.mark.parametrize("name", SHIPPED)
def test_it_ships_whole_and_small(name: str) -> None:
    assert name in starter_names()
    assert resolve(name).stat().st_size <= 5_000_000
    with open_bundle(resolve(name)) as bundle:
        bundle.verify_all()
        assert "Research use only" in bundle.read("README.md").decode()
        for role, model in bundle.manifest.models.items():
            for variant in model.shipped:
                native = engines.preference(variant.format)[0]
                loaded = open_session(
                    bundle, role=role, variant=variant.id, engine=native, options=SessionOptions(threads=1)
                )
                assert loaded.golden.ok
                loaded.session.close()


def test_polyps_are_outlined(data_root: Path, tmp_path: Path) -> None:
    split = holdout("polyp-segmentation", data_root)
    results = run("polyp-segmentation", str(frames(split, tmp_path / "f", 40)))
    scores = []
    for item, result in zip(split.items, results, strict=False):
        if result.outcome is Outcome.OK:
            assert item.target is not None and isinstance(result.result, Segmentation)
            truth = item.target()
            assert isinstance(truth, MaskTarget)
            found = drawn(result.result, 1, truth.classes.shape)
            both, total = int((found & truth.classes).sum()), int(found.sum() + truth.classes.sum())
            scores.append(2 * both / total if total else 1.0)
    assert len(scores) >= 36
    assert np.mean(scores) >= 0.8


def test_polyps_are_boxed(data_root: Path, tmp_path: Path) -> None:
    split = holdout("polyp-detection", data_root)
    results = run("polyp-detection", str(frames(split, tmp_path / "f", 40)))
    hits = answered = 0
    for item, result in zip(split.items, results, strict=False):
        if result.outcome is Outcome.OK:
            assert item.target is not None and isinstance(result.result, Detections)
            truth = item.target()
            assert isinstance(truth, BoxesTarget)
            answered += 1
            hits += any(_overlap(b.box, t) >= 0.5 for b in result.result.boxes for t in truth.boxes)
    assert answered >= 36
    assert hits >= 0.6 * answered


def _overlap(a: object, b: np.ndarray) -> float:
    x0, y0, x1, y1 = a.x0, a.y0, a.x1, a.y1  # type: ignore[attr-defined]
    inner = max(0.0, min(x1, b[2]) - max(x0, b[0])) * max(0.0, min(y1, b[3]) - max(y0, b[1]))
    return float(inner / ((x1 - x0) * (y1 - y0) + (b[2] - b[0]) * (b[3] - b[1]) - inner))


@pytest.mark.parametrize("bundle", ["polyp-segmentation", "polyp-detection"])
@pytest.mark.parametrize(
    "source", ["synthetic:blank?frames=10", "synthetic:bars?frames=10", "sample:echo-cine"]
)
def test_foreign_frames_are_withheld(bundle: str, source: str) -> None:
    results = run(bundle, source)
    withheld = [r for r in results if r.reason == Withheld.OUT_OF_DISTRIBUTION]
    assert len(withheld) >= 0.8 * len(results)
    assert all(
        r.result is None and r.guard is not None and r.guard.score > r.guard.threshold for r in withheld
    )


def test_nerves_and_vessels_are_found(data_root: Path, tmp_path: Path) -> None:
    split = holdout("nerve-segmentation", data_root)
    results = run("nerve-segmentation", str(frames(split, tmp_path / "f", 12)))
    assert all(r.outcome is Outcome.OK for r in results)
    found = [r.result.regions for r in results if isinstance(r.result, Segmentation)]
    assert sum(bool(regions) for regions in found) >= 10


def test_the_autoencoder_scores_a_blank_screen_beyond_its_threshold() -> None:
    for result in run("colon-autoencoder", "synthetic:blank?frames=3"):
        assert isinstance(result.result, Reconstruction)
        assert result.result.threshold is not None and result.result.score > result.result.threshold


def test_the_larynx_is_labelled_better_than_by_an_answer_that_ignores_the_frame(
    data_root: Path, tmp_path: Path
) -> None:
    split = holdout("larynx-segmentation", data_root)
    results = run("larynx-segmentation", str(frames(split, tmp_path / "f", 16)))
    truths = [cast(MaskTarget, item.target()).classes for item in split.items[:16] if item.target is not None]
    votes = np.stack([np.sum([t == k for t in truths], axis=0) for k in range(7)])
    constant = votes.argmax(axis=0).astype(np.uint8)
    found, ignoring = [], []
    for truth, result in zip(truths, results, strict=True):
        assert isinstance(result.result, Segmentation)
        for label in (1, 3):  # vocal folds and glottal space are in every frame of that sequence
            mine = drawn(result.result, label, truth.shape)
            for scores, answer in ((found, mine > 0), (ignoring, constant == label)):
                both, total = (
                    int((answer & (truth == label)).sum()),
                    int(answer.sum() + (truth == label).sum()),
                )
                scores.append(2 * both / total if total else 1.0)
    assert np.mean(found) > np.mean(ignoring)


def test_the_generator_draws_another_picture_every_time() -> None:
    with open_bundle(resolve("ultrasound-gan")) as bundle:
        loaded = open_session(bundle, options=SessionOptions(threads=1))
        pictures = [pixels for pixels, _ in draw(loaded, 24)]
        again = [pixels for pixels, _ in draw(loaded, 24)]
        loaded.session.close()
    assert {p.shape for p in pictures} == {(64, 64, 1)}
    assert len({p.tobytes() for p in pictures}) == 24
    assert all(np.array_equal(a, b) for a, b in zip(pictures, again, strict=True))
    # Not one picture with noise on it: two of them differ by more than neighbours in one do.
    stack = np.stack(pictures).astype(np.float64)
    assert stack.std(axis=0).mean() > 10.0
