"""Means over folds, and what an interrupted call goes on from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bedside.export import cross_validation
from bedside.export.cross_validation import FoldsResult, cross_validate
from bedside.export.data.folds import Fold
from bedside.export.data.recipe import SyntheticData
from bedside.export.recipe import Recipe, TrainingRecipe
from bedside.runtime.errors import GateError, UsageError

RECIPE = Recipe(name="tiny", data=SyntheticData())


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Takes the place of the export: Dice 0.8, 0.82, ... of Keras, int8 0.01 lower and refused on fold 1."""
    seen: list[int] = []

    def export(recipe: Recipe, out: Path, *, fold: Fold, **rest: Any) -> Any:
        seen.append(fold.index)
        if recipe.seed == 99 and fold.index == 1:
            raise GateError("it learned nothing")
        value = 0.8 + 0.02 * fold.index
        marks = SimpleNamespace(value=value, others={}, metric="Dice", higher_is_better=True)
        int8 = SimpleNamespace(
            id="tflite-int8",
            measured=SimpleNamespace(marks=SimpleNamespace(value=value - 0.01, others={}), agreement=0.99),
            refused="too low" if fold.index == 1 else None,
            bytes=1000,
        )
        split = SimpleNamespace(name="holdout", samples=10, groups=5, sha256=f"{fold.index}")
        outcome = SimpleNamespace(
            parameters=7, splits=(split,), reference=marks, variants=(int8,), training=None
        )
        return SimpleNamespace(outcome=outcome)

    monkeypatch.setattr(cross_validation, "export_recipe", export)
    return seen


def test_means_with_students_interval(exports: list[int], tmp_path: Path) -> None:
    found = cross_validate(RECIPE, 3, tmp_path / "x.json")
    assert exports == [0, 1, 2]
    keras, int8 = found.means
    assert (keras.name, keras.mean, keras.drop) == ("Keras fp32", pytest.approx(0.82), None)
    # t(0.975, 2) = 4.303, deviation 0.02, three folds.
    assert keras.interval == pytest.approx((0.82 - 0.049683, 0.82 + 0.049683), abs=1e-5)
    assert (int8.name, int8.drop, int8.passed) == ("tflite-int8", pytest.approx(0.01), 2)
    written = msgspec.json.decode((tmp_path / "x.json").read_bytes(), type=FoldsResult)
    assert written == found


def test_an_interrupted_call_goes_on_with_the_same_recipe_only(exports: list[int], tmp_path: Path) -> None:
    failing = msgspec.structs.replace(RECIPE, seed=99)
    with pytest.raises(GateError, match="fold 2 of 3: it learned nothing"):
        cross_validate(failing, 3, tmp_path / "x.json")
    with pytest.raises(GateError):
        cross_validate(failing, 3, tmp_path / "x.json")
    assert exports == [0, 1, 1], "the first fold is done"
    exports.clear()
    other = msgspec.structs.replace(failing, training=TrainingRecipe(epochs=7))
    with pytest.raises(GateError):
        cross_validate(other, 3, tmp_path / "x.json")
    assert exports == [0, 1], "folds of two recipes are not averaged"
    exports.clear()
    with pytest.raises(GateError):
        cross_validate(other, 4, tmp_path / "x.json")
    assert exports == [0, 1], "nor those of two divisions"


def test_one_fold_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        cross_validate(RECIPE, 1, tmp_path / "x.json")
