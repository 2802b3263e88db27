import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bedside.export.cross_validation import FoldResult, FoldsResult, FoldVariant, Mean
from bedside.export.reports.wording import span, tell, tell_loss
from bedside.export.terminal import print_folds, print_result


def test_it_needs_no_tensorflow() -> None:
    code = (
        "import sys, bedside.export.terminal; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_of_an_export(exported: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = exported.outcome.variants
    refused = msgspec.structs.replace(first, refused="too bad", shipped=False)
    outcome = msgspec.structs.replace(exported.outcome, variants=(refused, *rest))
    print_result(SimpleNamespace(outcome=outcome, path=Path("a"), digest="d", report=Path("r")))  # type: ignore[arg-type]
    text = capsys.readouterr().out
    for wanted in ("Keras fp32", "same decision", "worst class", f"{first.id} refused: too bad", "digest  d"):
        assert wanted in text, wanted
    assert text.count("shipped") == len(rest)


def test_folds_and_their_means(capsys: pytest.CaptureFixture[str]) -> None:
    variants = (FoldVariant("tflite-int8", 0.81, {}, 0.99, None, 9000),)
    folds = (
        FoldResult(0, 20, 10, "aa", 0.82, {}, variants, 1.0),
        FoldResult(1, 21, 11, "bb", 0.84, {}, (msgspec.structs.replace(variants[0], refused="no"),), 1.0),
    )
    means = (Mean("Keras fp32", 0.83, (0.7, 0.96)), Mean("tflite-int8", 0.81, None, 0.02, 1))
    print_folds(FoldsResult("polyp", "Dice", folds, means, 123456))
    text = capsys.readouterr().out
    for wanted in (
        "polyp, 2 folds, 123,456 parameters",
        "0.810 refused",
        "0.700 to 0.960",
        "+0.0200",
        "1 of 2",
    ):
        assert wanted in text, wanted


def test_metrics_are_told_as_the_field_does() -> None:
    assert tell("accuracy", 0.9786) == "97.9 %"
    assert tell("Dice", 0.8123) == "0.812"
    assert tell("error", 4.0) == "4.00 grey levels"
    assert tell("error", 4.0, with_unit=False) == "4.00"
    assert tell("AP50", float("nan")) == tell("AP50", None) == "-"
    assert span("accuracy", (0.5, 0.75)) == "50.0 to 75.0 %"
    assert span("Dice", (float("nan"), 1.0)) == "-"
    assert (tell_loss("accuracy", 0.01), tell_loss("Dice", -0.005)) == ("+1.00 points", "-0.0050")
    assert tell_loss("Dice", -1e-9) == tell_loss("accuracy", 0.0) == "0"
