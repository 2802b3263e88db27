"""The studies of `benchmarks/studies`: their tables, their frames, and what they refuse."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("scipy")

from bedside.export.gates.marks import Marks, Measured
from bedside.export.models.recipe import ModelRecipe
from bedside.export.recipe import GateRecipe
from bedside.export.reports.outcome import EngineCheck, ExportOutcome, SplitSummary, Training, VariantResult
from bedside.export.reports.record import Bundled, report_json
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.packing import GoldenInput

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a study as its own command does: from its folder."""
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module


def marks(value: float) -> Marks:
    return Marks(
        metric="accuracy", value=value, interval=(value - 0.02, value + 0.01), method="x", samples=200
    )


def report() -> bytes:
    """A variant that is shipped, one that keeps layers in float, one refused, and one that was not converted."""

    def variant(name: str, value: float | None, refused: str | None, **more: Any) -> VariantResult:
        form, _, precision = name.partition("-")
        measured = None
        if value is not None:
            measured = Measured(
                marks=marks(value),
                agreement=0.99,
                difference=0.01,
                engine="litert 2.3.0" if form == "tflite" else "onnxruntime 1.32.0",
                invoke_ms=0.7,
                rows=(),
            )
        return VariantResult(
            id=name,
            format=form,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            bytes=None if value is None else 12_345,
            measured=measured,
            refused=refused,
            shipped=refused is None,
            **more,
        )

    outcome = ExportOutcome(
        name="vit-modality",
        version="1.0.0",
        task="classification",
        description="",
        intended_use="",
        authors="",
        licence="",
        origin="trained by its recipe",
        labels=("a", "b"),
        input=InputSpec(width=64, height=48),
        normalization="",
        parameters=123_456,
        decode=ClassificationDecode(labels=("a", "b")),
        sources=(),
        splits=(
            SplitSummary("train", 600, 60, "0" * 64, (300, 300)),
            SplitSummary("holdout", 200, 20, "1" * 64, ()),
        ),
        calibration_samples=200,
        seed=1,
        tools={"keras": "3.15"},
        created_utc="2026-01-01T00:00:00+00:00",
        gate=GateRecipe(),
        reference=marks(0.95),
        variants=(
            variant("tflite-fp32", 0.95, None),
            variant("tflite-int8", 0.94, None, kept_float=("head", "neck")),
            variant("onnx-int8", 0.6, "accuracy 60.0 % of 95.0 %\nis below | the gate"),
            variant("tflite-int16x8", None, "could not be converted: NEG"),
        ),
        default="tflite-int8",
        training=Training({"loss": (1.0, 0.5, 0.4)}, 3, 90.0),
    )
    checks = (
        EngineCheck("tflite-fp32", "litert 2.3.0", 1, 0.0, 0.01, 0.111, 40),
        EngineCheck("tflite-fp32", "litert 2.3.0", 2, 0.0, 0.01, 0.099, 40),
        EngineCheck("tflite-fp32", "openvino 2026.4", 1, 0.5, 0.01, 0.222, 40),
        EngineCheck("tflite-int8", "litert 2.3.0", 1, 0.0, 0.01, 0.055, 40),
        EngineCheck("tflite-int8", "openvino 2026.4", 1, None, 0.01, None, 0, "refuses it"),
    )
    return report_json(outcome, checks, Bundled("x.bedside", "2" * 64, 1))


def test_the_table_of_architectures(study: Any) -> None:
    table = study("architectures_table")
    record = table.Record(
        "vit",
        "vit-modality",
        msgspec.json.decode(report(), type=table.Report),
        {"ledger": {"captured": 30, "processed": 29}},
    )
    failed = table.Record("detr", "detr-polyp", failed="the Keras model reaches AP50 0")
    page = table.page([record, failed])
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if line.startswith("|")}

    assert (
        "| 64x48x3 | 123,456 | 800 | accuracy | 95.0 % | 94.0 % | onnx-int8, tflite-int16x8 | 29 of 30 |"
        in rows["vit"]
    )
    assert "refused: the Keras model reaches AP50 0" in rows["detr"]
    assert "93.0 to 96.0 %" in rows["Keras fp32"]
    # One thread only, and what does not hold its goldens is said.
    assert rows["tflite-fp32"].endswith("| 0.111 | 0.222 (goldens fail) |")
    assert rows["tflite-int8"].endswith("| +1.00 points | 12.3 kB | 0.055 | does not run |")
    assert "refused | 60.0 %" in rows["onnx-int8"]
    assert rows["tflite-int16x8"].endswith("| - | - | - | - | - | - |")
    assert "3 epochs in 1.5 minutes" in page
    assert "- `onnx-int8` refused: accuracy 60.0 % of 95.0 % is below | the gate" in page
    assert "- `tflite-int8` on openvino 2026.4 does not run: refuses it" in page
    assert "- `tflite-int8` passed with 2 layers in float: head, neck" in page
    # Every row of a table has as many cells as its header.
    for block in page.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1, block

    summary = json.loads(msgspec.json.encode(table.summary([record, failed])))
    assert summary[0]["keras"]["value"] == 0.95
    assert summary[0]["ledger"]["processed"] == 29
    assert [c["ms"] for c in summary[0]["one_thread_ms"]] == [0.111, 0.222, 0.055, None]
    assert summary[1] == {
        "architecture": "detr",
        "recipe": "detr-polyp",
        "failed": "the Keras model reaches AP50 0",
    }


def test_cells_cannot_break_a_table(study: Any) -> None:
    text = study("support").markdown(("a", "b"), [("x|y", "two\nlines")], numbers=(1,))
    assert text == "| a | b |\n| --- | ---: |\n| x\\|y | two lines |\n"


def test_every_architecture_has_a_recipe(study: Any) -> None:
    """Each of the schema's, with and without data; without data nothing is read."""
    studied = study("architectures")
    known = {kind.__struct_config__.tag for kind in ModelRecipe.__args__}  # type: ignore[attr-defined]
    assert set(studied.ENTRIES) == known
    for name in studied.ENTRIES:
        for root in (None, Path("nowhere")):
            recipe = studied.recipe_for(name, root, 0.1)
            assert type(recipe.model).__struct_config__.tag == name
            assert recipe.guard is None
            assert getattr(recipe.model, "initialize", None) is None
            assert (root is None) == (type(recipe.data).__struct_config__.tag == "synthetic")
        assert studied.recipe_for(name, None, 0.001).training.epochs == 1


def test_what_is_finished_is_not_done_again(study: Any, tmp_path: Path) -> None:
    studied, support, table = study("architectures"), study("support"), study("architectures_table")
    key = studied.key_of(studied.recipe_for("vit", None, 1.0))
    assert key != studied.key_of(studied.recipe_for("vit", None, 0.5))
    assert not studied.is_finished("vit", tmp_path, key)
    support.save(tmp_path / "vit.key.json", key)
    assert not studied.is_finished("vit", tmp_path, key)  # `bedside run` is missing
    support.save(tmp_path / "vit.run.json", {})
    assert studied.is_finished("vit", tmp_path, key)
    assert not studied.is_finished("vit", tmp_path, "another recipe")
    support.save(tmp_path / "detr.failed.json", table.Failure("k", "why"))
    assert studied.is_finished("detr", tmp_path, "k")
    assert [r.failed for r in studied.collect(["detr", "vit"], tmp_path, {})] == ["why"]


def test_a_report_made_elsewhere(study: Any, tmp_path: Path) -> None:
    (tmp_path / "y.report.json").write_bytes(report())
    words = ("--table", "--json", "--only", "vit", "--take", f"vit={tmp_path / 'y.report.json'}")
    done = subprocess.run(
        [
            *(sys.executable, STUDIES / "architectures.py", tmp_path / "out"),
            *(*words, "--markdown", tmp_path / "t.md"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [r["architecture"] for r in json.loads(done.stdout)] == ["vit"]
    assert "## vit" in (tmp_path / "t.md").read_text()


def test_foreign_frames(study: Any, guarded_bundle: Path, smooth_frames: tuple[GoldenInput, ...]) -> None:
    """A guard that knows ramps: noise and blank screens are foreign, and the numbers are those of the guard."""
    scores, sets = study("foreign_scores"), study("foreign_sets")
    from bedside.export.steps import Silent

    inside = [
        sets.Picture("colon", "colon", str(i), lambda f=f: (f.pixels, f.color))
        for i, f in enumerate(smooth_frames)
    ]
    outside = [p for p in sets.foreign(None) if p.part in ("noise", "black")]
    with open_bundle(guarded_bundle) as bundle:
        found = scores.judge(bundle, inside, outside, None, Silent())
    assert found.frames == found.groups == len(smooth_frames)
    assert found.variant == "tflite-int8"
    assert found.invoke_ms > 0
    assert [s.name for s in found.scored] == ["no signal", "no signal: black", "no signal: noise"]
    for scored in found.scored:
        assert scored.auroc == 1.0
        assert scored.interval == (1.0, 1.0)
        assert scored.withheld == 1.0
    assert found.false_alarms == 0.0


def test_a_study_of_a_bundle_without_a_guard_is_refused(tiny_bundle: Path, study: Any) -> None:
    from bedside.runtime.errors import BundleError

    with open_bundle(tiny_bundle) as bundle, pytest.raises(BundleError, match="guard"):
        study("foreign_scores").Watch(bundle, None)


def test_intervals_follow_the_groups(study: Any) -> None:
    """Frames of few groups say less than as many frames by themselves."""
    interval = study("foreign_scores").interval
    rng = np.random.default_rng(1)
    inside = rng.normal(0, 1, 60)
    shift = np.repeat(rng.normal(1.5, 1, 6), 10)
    outside = shift + rng.normal(0, 0.1, 60)
    each = [str(i) for i in range(60)]
    sixes = [str(i // 10) for i in range(60)]
    alone = interval(inside, each, outside, each)
    together = interval(inside, each, outside, sixes)
    assert together[1] - together[0] > alone[1] - alone[0]
    assert all(0 <= end <= 1 for end in (*alone, *together))


def test_what_was_chosen_on_is_not_reported_on(study: Any, tmp_path: Path) -> None:
    """The larynx sequences and drawn frames of `--choosing` are others than those that count."""
    sets = study("foreign_sets")
    for sequence in ("seq1", "seq2", "seq3", "seq4"):
        folder = tmp_path / "endoscopy" / "larynx" / "images" / sequence
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"")
    chosen, counted = sets.foreign(tmp_path, choosing=True), sets.foreign(tmp_path)
    assert {p.group for p in chosen if p.kind == "larynx"} == {"seq1", "seq2"}
    assert {p.group for p in counted if p.part == "sequences 3 and 4"} == {"seq3", "seq4"}
    messages = [next(p for p in some if p.part == "messages").load()[0] for some in (chosen, counted)]
    assert not np.array_equal(*messages)


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("foreign_frames.py", (), "either a BUNDLE or --folds"),
        ("foreign_frames.py", ("--folds", "3"), "-o X.json"),
        ("architectures.py", ("out", "--only", "resnet"), "no architecture 'resnet'"),
        ("gan_uses.py", ("--task", "ultrasound"), "needs --data-root"),
    ],
)
def test_usage_is_one_line(script: str, words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(STUDIES / script), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "", "BEDSIDE_DATA": ""},
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_gains_are_differences_seed_by_seed(study: Any) -> None:
    samples = study("gan_samples")
    better = samples.arm("drawn", [0.6, 0.8, 0.7], [0.5, 0.7, 0.6])
    assert better.gain == pytest.approx(0.1)
    # The seeds differ, the gains do not.
    assert better.gain_interval == pytest.approx((0.1, 0.1))
    assert better.interval[1] - better.interval[0] > 0.2
    assert samples.student([0.5]) == (0.5, (0.5, 0.5))


@pytest.mark.slow
def test_folds_go_on_where_they_were(study: Any, guarded_bundle: Path, tmp_path: Path) -> None:
    """Each fold is judged on its own frames, and a finished one is not trained again."""
    from bedside.export.data.folds import Fold
    from bedside.export.data.recipe import SyntheticData
    from bedside.export.recipe import Recipe
    from bedside.export.steps import Silent

    data = SyntheticData(content="frames", scene="endoscopy", samples=12, width=64, height=64)
    recipe, out = Recipe(name="tiny", data=data), tmp_path / "x.json"
    folds, sets = study("foreign_frames"), study("foreign_sets")
    outside = [p for p in sets.foreign(None) if p.part == "colour bars"]
    trained: list[Fold] = []

    def export(made: Recipe, path: Path, *, fold: Fold, **_: Any) -> None:
        assert made.quantization.variants == ("tflite-fp32", "tflite-int8")
        trained.append(fold)
        shutil.copy(guarded_bundle, path)

    def judged() -> Any:
        return folds.over_folds(recipe, 3, None, out, outside, Silent(), export)

    found = judged()
    assert trained == [Fold(i, 3) for i in range(3)]
    assert sum(f.frames for f in found.folds) == 12
    mean, low, high, least = found.means["no signal"]
    values = [f.scored[0].auroc for f in found.folds]
    assert (mean, least) == (pytest.approx(np.mean(values)), min(values))
    assert 0 <= low <= mean <= high <= 1

    # A call that was killed after the first fold.
    folds.support.save(out, msgspec.structs.replace(found, folds=found.folds[:1]))
    trained.clear()
    again = judged()
    assert trained == [Fold(1, 3), Fold(2, 3)]
    assert [f.scored for f in again.folds] == [f.scored for f in found.folds]
    # Another recipe has nothing in common with it.
    recipe = msgspec.structs.replace(recipe, seed=2)
    trained.clear()
    judged()
    assert len(trained) == 3
