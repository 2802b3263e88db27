"""What `bedside tune` picks, beside the best of its candidates and the usual choice, measured again afterwards.

For each bundle: tune, then visit in turns what was picked, once more what was picked (the noise of identical
code), the candidates that came close, and LiteRT and tflite-runtime on int8 with two threads. Each visit is a
process of its own at 30 frames a second; rounds go there and back (A B C, C B A). What counts is the 95 % interval
of the ratio of medians: the pick may not be slower than the best by more than `SHARE`.

The starters, and with the `export` extra the textbook CNN and a U-Net at 256 with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.devices.cli.output import console, table
from bedside.devices.cli.tune import FPS, make_job
from bedside.devices.profiles import EngineSection, Profile
from bedside.devices.starters import resolve, starter_names
from bedside.devices.tuning.ranking import Candidate, Limits, Ranking
from bedside.devices.tuning.tuner import tune
from bedside.devices.tuning.visit import Order, Times, visit
from bedside.export.convert.speed import ratio_interval
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import InputSpec, Provenance
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, build
from bedside.runtime.synthetic import golden_frames

ROUNDS, FRAMES = 20, 25

#: Issue 4: the pick is never slower than the best candidate, measured again afterwards, by more than this.
SHARE = 0.05

#: Candidates whose median was within this factor of the pick's are measured again, so many at most: identical code
#: was seen to differ by 1.16.
CLOSE, MOST = 1.3, 4

PICKED, AGAIN = "picked", "picked, once more"

MADE = {"textbook-cnn-224": 224, "unet-256": 256}
LABELS = tuple(f"class {k}" for k in range(10))


def made(name: str, folder: Path) -> Path:
    """A bundle around a model with random weights, in fp32 and int8 of both formats."""
    pytest.importorskip("tensorflow")
    from bedside.export.adopt.graph import adopt
    from bedside.export.convert.calibration import with_extremes
    from bedside.export.convert.onnx import convert_onnx
    from bedside.export.convert.tflite import convert_tflite
    from bedside.export.models.cnn import textbook_cnn
    from bedside.export.models.unet import unet

    side = MADE[name]
    shape = {"width": side, "height": side, "seed": 1}
    if name.startswith("unet"):
        model = unet(**shape, separable_convolutions=False)
        task, adopted = "segmentation", adopt(model, "segmentation", ("background", "lesion"))
    else:
        task, adopted = "classification", adopt(textbook_cnn(**shape), "classification", LABELS)
    drawn = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)
    calibration = with_extremes(drawn)
    readable = {f for s in engines.statuses() if s.available for f in s.formats}
    variants = [
        VariantDraft(f"{fmt}-{precision}", fmt, precision, convert(adopted.model, precision, calibration))
        for fmt, convert in (("tflite", convert_tflite), ("onnx", convert_onnx))
        if fmt in readable
        for precision in ("int8", "fp32")
    ]
    main = ModelDraft(
        input=InputSpec(width=side, height=side),
        outputs=adopted.model.outputs,
        decode=adopted.decode,
        variants=tuple(variants),
        frames=tuple(GoldenInput(pixels, color) for pixels, color in golden_frames(2)),
    )
    draft = BundleDraft(
        name=name,
        version="1.0.0",
        task=task,
        description="Random weights, to be timed.",
        intended_use="None.",
        models={"main": main},
        card=f"# {name}\n",
        provenance=Provenance(created_utc="2026-01-01T00:00:00+00:00"),
    )
    write_bundle(folder / f"{name}.bedside", *build(draft))
    return folder / f"{name}.bedside"


def tuned(bundle: Bundle) -> Ranking:
    """Tune in full, with two threads among the counts."""
    profile = Profile(name="bench", engine=EngineSection(threads=2))
    outcome = tune(bundle, make_job(bundle, profile, Limits(), quick=False), MonotonicClock())
    assert outcome.ranking is not None, outcome.struck_off
    return outcome.ranking


def entrants(ranking: Ranking, bundle: Bundle) -> dict[str, Candidate]:
    """Who is measured again, by its name in the table; the first is what was picked."""
    picked = ranking.best()
    assert picked is not None
    close = [m for m in ranking.measured if m != picked and m.paced.p50 <= CLOSE * picked.paced.p50]
    named = {PICKED: picked.candidate, AGAIN: picked.candidate}
    named |= {f"rival {k}": m.candidate for k, m in enumerate(close[:MOST], 1)}
    int8 = [v.id for v in bundle.manifest.main.shipped if v.format == "tflite" and v.precision == "int8"]
    for engine in ("litert", "tflite"):
        usual = [m.candidate for m in ranking.measured if m.candidate.engine == engine]
        named |= {f"usual, {engine}": c for c in usual if c.variant in int8[:1] and c.threads == 2}
    return named


@pytest.mark.parametrize("name", [*starter_names(), *MADE])
def test_pick(benchmark, name: str, tmp_path: Path, capsys) -> None:
    path = made(name, tmp_path) if name in MADE else resolve(name)
    with open_bundle(path) as bundle:
        ranking = tuned(bundle)
        named = entrants(ranking, bundle)
        rows: list[list[float]] = []

        def go_round() -> None:
            order = list(named.values()) if len(rows) % 2 else list(named.values())[::-1]
            medians = [median_ns(bundle, candidate) for candidate in order]
            rows.append(medians if len(rows) % 2 else medians[::-1])

        benchmark.group = "what tune picks, measured again"
        benchmark.pedantic(go_round, rounds=ROUNDS)

    columns = dict(zip(named, np.array(rows).T, strict=True))
    medians = {who: float(np.median(column)) for who, column in columns.items()}
    ours = columns[PICKED]
    best = min((who for who in named if who != AGAIN), key=lambda who: medians[who])
    low, high = ratio_interval(ours, columns[best]) if best != PICKED else (1.0, 1.0)
    shown: list[tuple[Any, ...]] = []
    for who, candidate in named.items():
        interval = ratio_interval(columns[who], ours)
        ratios = (float(np.median(columns[who] / ours)), *interval)
        benchmark.extra_info[who] = {"candidate": str(candidate), "times_the_pick": ratios}
        shown.append((who, candidate, f"{medians[who] / 1e6:.3f}", *(f"{ratio:.2f}" for ratio in ratios)))
    with capsys.disabled():
        print(f"\n\n{name}: invoke at {FPS:g} frames/s, {ROUNDS} rounds there and back")
        header = ("", "candidate", "median ms", "times the pick", "from", "to")
        console().print(table("Ratios with 95 % intervals", header, shown, right=(2, 3, 4, 5)))
        print(f"the pick takes {low:.2f} to {high:.2f} times the best ({best}); allowed is {1 + SHARE:.2f}")
    assert low <= 1 + SHARE


def median_ns(bundle: Bundle, candidate: Candidate) -> float:
    """Median of one visit's paced invocations, in ns."""
    order = Order(
        bundle=str(Path(bundle.path).resolve()),
        digest=bundle.digest,
        candidate=candidate,
        fps=FPS,
        paced=FRAMES,
        back_to_back=1,
        most_s=4 * FRAMES / FPS + 2,
        ends_s=0.0,
    )
    answer = visit(order)
    assert isinstance(answer, Times), answer
    return float(np.median(answer.paced_ns))
