"""Training on tiny pictures: early stopping, best weights, and resumed after a SIGKILL."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.training.augment import Augmenter
from bedside.export.backend import keras
from bedside.export.training.batches import TrainingBatches
from bedside.export.models.building import build_classifier
from bedside.export.training.progress import EpochReport, Silent
from bedside.export.recipe import AugmentRecipe, ModelRecipe, Recipe, SyntheticData, TrainingRecipe
from bedside.export.training import TrainingResult, train
from bedside.runtime.errors import RecipeError, SinkError

EPOCHS = 4


def make_recipe(**training: Any) -> Recipe:
    return Recipe(
        name="tiny",
        data=SyntheticData(),
        seed=5,
        model=ModelRecipe(width=22, height=22, channels=1, width_multiplier=0.25),
        training=TrainingRecipe(
            **{"epochs": EPOCHS, "batch": 8, "patience": 0, "learning_rate": 0.003} | training
        ),
    )


def make_arrays(count: int, seed: int, classes: int = 2) -> tuple[Any, Any]:
    """Bright pictures and dark ones."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = np.clip(rng.normal(60 + 120 * y[:, None, None, None], 25, (count, 22, 22, 1)), 0, 255).astype(
        np.uint8
    )
    return x, y.astype(np.int64)


TRAIN, VALIDATION = make_arrays(48, 1), make_arrays(16, 2)


class Recorder(Silent):
    """Remembers what it was told, and can stop the process in the middle."""

    def __init__(self, die_in_epoch: int | None = None, with_signal: int | None = None) -> None:
        self.first_epoch = -1
        self.steps: list[tuple[int, int]] = []
        self.reports: list[EpochReport] = []
        self.ended = 0
        self._die, self._signal = die_in_epoch, with_signal

    def begin(self, epochs: int, steps: int, first_epoch: int) -> None:
        self.first_epoch = first_epoch

    def step(self, epoch: int, step: int) -> None:
        self.steps.append((epoch, step))
        if epoch == self._die:
            if self._signal is not None:
                os.kill(os.getpid(), self._signal)
            raise KeyboardInterrupt

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)

    def end(self) -> None:
        self.ended += 1


def run(work_dir: Path, recipe: Recipe | None = None, progress: Recorder | None = None) -> TrainingResult:
    recipe = recipe or make_recipe()
    return train(build_classifier(recipe, 2), TRAIN, VALIDATION, recipe, work_dir, progress)


def weights(model: Any) -> list[np.ndarray]:
    return [np.asarray(w) for w in model.get_weights()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path, Recorder]:
    """One training without interruption."""
    folder, recorder = tmp_path_factory.mktemp("whole"), Recorder()
    return run(folder, progress=recorder), folder, recorder


def test_it_learns_and_reports(whole):
    result, folder, recorder = whole
    assert result.history["val_accuracy"][-1] == 1.0
    assert set(result.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [len(v) for v in result.history.values()] == [EPOCHS] * 4
    assert result.best_epoch == 1 + int(np.argmin(result.history["val_loss"]))
    assert result.resumed_from is None
    assert result.seconds > 0
    assert recorder.first_epoch == 0
    assert recorder.steps == [(e, s) for e in range(EPOCHS) for s in range(6)]
    assert [r.epoch for r in recorder.reports] == [1, 2, 3, 4]
    assert recorder.ended == 1
    assert [p.name for p in folder.glob("*/*")] == ["finished"]


def test_a_second_call_returns_the_finished_training_at_once(whole):
    result, folder, _ = whole
    recorder = Recorder()
    again = run(folder, progress=recorder)
    assert recorder.steps == []
    assert again.resumed_from == EPOCHS
    assert again.history == result.history
    assert again.best_epoch == result.best_epoch
    assert all(np.array_equal(a, b) for a, b in zip(weights(again.model), weights(result.model), strict=True))


def test_the_same_seed_gives_the_same_training(whole, tmp_path: Path):
    result, _, _ = whole
    again = run(tmp_path)
    assert np.allclose(again.history["val_loss"], result.history["val_loss"], rtol=1e-3)


def test_another_recipe_or_other_data_is_another_training(whole):
    _, folder, _ = whole
    recorder = Recorder()
    run(folder, make_recipe(epochs=1), recorder)
    assert len(recorder.reports) == 1
    recipe, recorder = make_recipe(epochs=1), Recorder()
    train(build_classifier(recipe, 2), make_arrays(48, 3), VALIDATION, recipe, folder, recorder)
    assert len(recorder.reports) == 1


@pytest.mark.fault("P1")
def test_a_killed_training_goes_on_where_it_was(whole, tmp_path: Path):
    """SIGKILL in the third epoch: two are kept, and the rest is what it would have been."""
    result, _, _ = whole
    script = textwrap.dedent(
        f"""
        import importlib.util, signal, sys
        from pathlib import Path
        spec = importlib.util.spec_from_file_location("tests_of_training", {str(Path(__file__))!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.run(Path(sys.argv[1]), progress=module.Recorder(2, signal.SIGKILL))
        """
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, timeout=120)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert [p.name for p in tmp_path.glob("*/*")] == ["epoch-00002"]
    recorder = Recorder()
    resumed = run(tmp_path, progress=recorder)
    assert resumed.resumed_from == recorder.first_epoch == 2
    assert [r.epoch for r in recorder.reports] == [3, 4]
    assert [len(v) for v in resumed.history.values()] == [EPOCHS] * 4
    # Optimizer, batches and early stopping go on as if nothing had happened.
    for name, values in result.history.items():
        assert np.allclose(resumed.history[name], values, rtol=1e-3, atol=1e-4), name
    for a, b in zip(weights(resumed.model), weights(result.model), strict=True):
        assert np.allclose(a, b, atol=1e-3)


@pytest.mark.fault("P4")
def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path):
    recorder = Recorder(die_in_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=recorder)
    assert recorder.ended == 1
    assert run(tmp_path).resumed_from == 1


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Recorder(die_in_epoch=2))
    (folder,) = tmp_path.iterdir()
    torn = folder / "epoch-00003"
    torn.mkdir()
    (torn / "state.json").write_bytes(b'{"epochs_done": 3,')
    (folder / ".writing-1").mkdir()
    assert run(tmp_path).resumed_from == 2
    assert not (folder / ".writing-1").exists()


def test_early_stopping_keeps_the_best_weights(tmp_path: Path):
    """A learning rate that is too high reaches its best in the middle and leaves it again."""
    recipe = make_recipe(epochs=12, patience=2, learning_rate=0.05)
    recorder = Recorder()
    result = run(tmp_path, recipe, recorder)
    losses = result.history["val_loss"]
    assert len(losses) == result.best_epoch + 2 < 12
    assert any("stopped after epoch" in note for note in result.notes)
    assert [r.epoch for r in recorder.reports if r.best][-1] == result.best_epoch
    x, y = VALIDATION[0].astype(np.float32), np.eye(2)[VALIDATION[1]]
    assert result.model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(
        min(losses), rel=1e-3, abs=1e-5
    )


def test_imbalanced_classes_are_weighted_and_it_is_said(tmp_path: Path):
    x, y = TRAIN
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:6]])
    recipe = make_recipe(epochs=1)
    model = build_classifier(recipe, 2)
    result = train(model, (x[keep], y[keep]), VALIDATION, recipe, tmp_path, labels=("dark", "bright"))
    assert any("bright: 6 frames, weight 2.50" in note for note in result.notes)
    unweighted = make_recipe(epochs=1, class_weights="none")
    result = train(build_classifier(unweighted, 2), (x[keep], y[keep]), VALIDATION, unweighted, tmp_path)
    assert not any("weight" in note for note in result.notes)


def test_batches_put_only_the_named_classes_on_a_screen():
    x = np.full((12, 22, 22, 1), 255, np.uint8)
    y = np.arange(12) % 3
    batches = TrainingBatches(
        x,
        y,
        classes=3,
        batch=5,
        augmenter=Augmenter(AugmentRecipe(pad=1.0)),
        screen=(True, False, True),
        seed=1,
    )
    frames, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert [len(batches[n][0]) for n in range(len(batches))] == [5, 5, 2]
    whole = frames.min(axis=(1, 2, 3)) == 255
    assert np.array_equal(whole, labels.argmax(1) == 1)
    first = batches[0][0]
    batches.epoch = 1
    assert not np.array_equal(batches[0][0], first)
    batches.epoch = 0
    assert np.array_equal(batches[0][0], first)


def test_screen_labels_have_to_be_classes(tmp_path: Path):
    recipe = make_recipe(epochs=1, augment=AugmentRecipe(pad=0.5, screen_labels=("dark",)))
    for labels, expected in ((None, "no class names are known"), (("a", "b"), "the classes are a, b")):
        with pytest.raises(RecipeError, match=expected):
            train(build_classifier(recipe, 2), TRAIN, VALIDATION, recipe, tmp_path, labels=labels)
    result = train(
        build_classifier(recipe, 2), TRAIN, VALIDATION, recipe, tmp_path, labels=("dark", "bright")
    )
    assert len(result.history["loss"]) == 1


def test_the_cosine_schedule_ends_at_nothing(tmp_path: Path):
    result = run(tmp_path, make_recipe(schedule="cosine"))
    assert float(keras.ops.convert_to_numpy(result.model.optimizer.learning_rate)) < 1e-8
    assert result.history["val_accuracy"][-1] == 1.0


def test_augmented_training_runs(tmp_path: Path):
    vary = AugmentRecipe(flip_horizontal=0.5, rotate=10, noise=5, brightness=0.1)
    recorder = Recorder()
    run(tmp_path, make_recipe(epochs=1, augment=vary), recorder)
    assert np.isfinite(recorder.reports[0].loss)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda x, y: (x[:0], y[:0]), "0 frames"),
        (lambda x, y: (x[:, :20], y), r"frames are \(20, 22, 1\), the model takes \(22, 22, 1\)"),
        (lambda x, y: (x, y + 1), "labels go from 1 to 2, the model has 2 outputs"),
        (lambda x, y: (x, y * 0), r"no training frames for the classes \[1\]"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path: Path, edit: Any, expected: str):
    recipe = make_recipe()
    with pytest.raises(RecipeError, match=expected):
        train(build_classifier(recipe, 2), edit(*TRAIN), VALIDATION, recipe, tmp_path)


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path):
    recipe = make_recipe(epochs=2)
    inputs = keras.Input((22, 22, 1))
    scores = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.ops.log(keras.ops.zeros_like(scores)) * scores)
    with pytest.raises(RecipeError, match="not finite in epoch 1"):
        train(model, TRAIN, VALIDATION, recipe, tmp_path)


@pytest.mark.fault("K3")
def test_a_work_folder_that_cannot_be_written_is_a_sink_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match="cannot be written") as caught:
        run(tmp_path / "file")
    assert caught.value.exit_code == 6


def test_the_state_on_disk_can_be_read_by_people(whole):
    _, folder, _ = whole
    states = [msgspec.json.decode(file.read_bytes()) for file in folder.glob("*/finished/state.json")]
    assert EPOCHS in [state["epochs_done"] for state in states]
    assert all(state["stopped"] for state in states)
