"""What a person is told: about small data, about how a training ended, and of memory that ran out; and its logs."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.data.types import DataSet
from bedside.export.models.recipe import LightSegmenter
from bedside.export.training import hints
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.checkpoint import State
from bedside.export.training.checks import memory_errors
from bedside.export.training.logs import logged
from bedside.export.training.progress import EpochReport, Silent
from bedside.runtime.errors import RecipeError


def test_small_data_is_said_with_what_helps(make_recipe: Any, shades: DataSet) -> None:
    (few,) = [n for n in hints.before(make_recipe(), shades) if "training frames" in n]
    assert "48 training frames are few (200 or more are usual)" in few
    assert "[training.augment] varies nothing" in few
    assert "initialize" not in few
    varied = make_recipe(LightSegmenter(width=32, height=32), augment=AugmentRecipe(rotate=5))
    (few,) = [n for n in hints.before(varied, shades) if "training frames" in n]
    assert "300 or more" in few and "varies nothing" not in few and "model.initialize" in few


def test_few_groups_are_said(make_recipe: Any, shades: DataSet) -> None:
    holdout = msgspec.structs.replace(shades.holdout, groups=1)
    notes = hints.before(make_recipe(), msgspec.structs.replace(shades, holdout=holdout))
    assert any(n.startswith("the holdout split has 1 group:") for n in notes)
    assert not any("validation" in n for n in notes)


@pytest.mark.parametrize(
    ("done", "wait", "settings", "expected"),
    [
        (3, 2, {"patience": 2}, "stopped after epoch 3: no better in 2 epochs"),
        (4, 0, {}, "still falling after 4 epochs"),
        (4, 3, {}, None),
        (4, 0, {"schedule": "cosine"}, None),
    ],
)
def test_how_it_ended(
    done: int, wait: int, settings: dict[str, Any], expected: str | None, make_recipe: Any
) -> None:
    state = State(
        epochs_done=done, best_epoch=0, best_loss=1.0, wait=wait, seconds=1.0, history={}, stopped=True
    )
    notes = hints.after(state, make_recipe(**settings).training)
    assert (expected is None and notes == ()) or expected in notes[0]


@pytest.mark.parametrize(
    ("name", "text", "caught"),
    [
        ("ResourceExhaustedError", "OOM when allocating tensor with shape[64,512,512,64]", True),
        ("OutOfMemoryError", "CUDA out of memory", True),
        ("XlaRuntimeError", "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes", True),
        ("XlaRuntimeError", "INVALID_ARGUMENT: shapes differ", False),
        ("InvalidArgumentError", "shapes differ", False),
    ],
)
def test_lack_of_memory_is_one_line(name: str, text: str, caught: bool) -> None:
    """Each backend has a class of its own for it."""
    error = type(name, (RuntimeError,), {})(text + "\nand a long trace")
    with pytest.raises(RuntimeError if not caught else RecipeError) as found, memory_errors():
        raise error
    if caught:
        assert isinstance(found.value, RecipeError)
        assert "out of memory while training" in str(found.value) and "\n" not in str(found.value)
        assert "batch" in str(found.value.hint)


def test_tensorboard_logs_are_written_and_can_be_read(tmp_path: Path) -> None:
    import tensorflow as tf

    told: list[EpochReport] = []

    class Listening(Silent):
        def epoch(self, report: EpochReport) -> None:
            told.append(report)

    shown = logged(Listening(), tmp_path, wanted=True)
    shown.begin(2, 3, 0)
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        shown.step(epoch - 1, 0)
        shown.epoch(
            EpochReport(
                epoch=epoch, epochs=2, loss=loss, val_loss=2 * loss, metric="Dice", score=0.7, val_score=0.6
            )
        )
    shown.end()
    assert len(told) == 2
    found = {}
    for name in ("train", "validation"):
        (file,) = (tmp_path / "tensorboard" / name).glob("events.out.*")
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[name, value.tag, event.step] = float(np.asarray(tf.make_ndarray(value.tensor)))
    assert found["train", "loss", 2] == 0.25
    assert found["validation", "loss", 1] == 1.0
    assert found["validation", "Dice", 2] == pytest.approx(0.6)
    assert len(found) == 8
    assert logged(told_nobody := Silent(), tmp_path, wanted=False) is told_nobody
