"""Training on tiny pictures: early stopping, best weights, and resumed after a SIGKILL."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.backend import keras
from bedside.export.data.reading import Examples
from bedside.export.data.types import DataSet
from bedside.export.recipe import Recipe
from bedside.export.steps import Silent as SilentSteps
from bedside.export.training.augment import Augmenter
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.export.training.batches import TrainingBatches, class_weights
from bedside.export.training.objectives import Classes
from bedside.export.training.progress import EpochReport, Silent
from bedside.export.training.result import TrainingResult
from bedside.export.training.run import fit, train
from bedside.runtime.errors import RecipeError, SinkError

EPOCHS = 4
#: AdamW with a cosine and averaged weights: more state than Adam has.
AVERAGED = {"optimizer": "adamw", "schedule": "cosine", "warm_up": 1, "average": 0.8}


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


def watched_by(recorder: Recorder) -> SilentSteps:
    steps = SilentSteps()
    steps.training = recorder
    return steps


def run(recipe: Recipe, data: DataSet, folder: Path, recorder: Recorder | None = None) -> TrainingResult:
    return train(recipe, data, folder, watched_by(recorder or Recorder()))


def weights(model: Any) -> list[np.ndarray]:
    return [np.asarray(w) for w in model.get_weights()]


def same_weights(a: TrainingResult, b: TrainingResult) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(weights(a.model), weights(b.model), strict=True))


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, make_recipe: Any, shades: DataSet
) -> tuple[TrainingResult, Path, Recorder]:
    """One training without interruption."""
    folder, recorder = tmp_path_factory.mktemp("whole"), Recorder()
    return run(make_recipe(), shades, folder, recorder), folder, recorder


def test_it_learns_and_reports(whole: Any) -> None:
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
    assert {r.metric for r in recorder.reports} == {"accuracy"}
    assert recorder.ended == 1
    assert [p.name for p in folder.glob("*/*")] == ["finished"]


def test_a_second_call_returns_the_finished_training_at_once(
    whole: Any, make_recipe: Any, shades: DataSet
) -> None:
    result, folder, _ = whole
    recorder = Recorder()
    again = run(make_recipe(), shades, folder, recorder)
    assert recorder.steps == []
    assert again.resumed_from == EPOCHS
    assert again.history == result.history
    assert again.best_epoch == result.best_epoch
    assert same_weights(again, result)


def test_the_same_seed_gives_the_same_training(
    whole: Any, tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    result, _, _ = whole
    again = run(make_recipe(), shades, tmp_path)
    assert again.history == result.history
    assert same_weights(again, result)
    other = run(msgspec.structs.replace(make_recipe(epochs=1), seed=6), shades, tmp_path)
    assert other.history["loss"][0] != result.history["loss"][0]


def test_another_recipe_or_other_data_is_another_training(
    whole: Any, make_recipe: Any, make_data: Any, shades: DataSet
) -> None:
    _, folder, _ = whole
    recorder = Recorder()
    run(make_recipe(epochs=1), shades, folder, recorder)
    assert len(recorder.reports) == 1
    swapped = msgspec.structs.replace(shades, train=shades.holdout)
    recorder = Recorder()
    run(make_recipe(epochs=1), swapped, folder, recorder)
    assert len(recorder.reports) == 1


def killed(folder: Path, settings: dict[str, Any]) -> "subprocess.CompletedProcess[bytes]":
    """The training in another process, which kills itself in the third epoch."""
    script = textwrap.dedent(
        f"""
        import importlib.util, signal, sys
        from pathlib import Path

        def load(path):
            spec = importlib.util.spec_from_file_location(Path(path).stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module

        tests, made = load({str(Path(__file__))!r}), load({str(Path(__file__).with_name("conftest.py"))!r})
        data = made.data_of(("dark", "bright"), made.bright_and_dark(48, 1), made.bright_and_dark(16, 2))
        tests.run(made.recipe_of(**{settings!r}), data, Path(sys.argv[1]), tests.Recorder(2, signal.SIGKILL))
        """
    )
    return subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, timeout=300)


@pytest.mark.fault("P1")
@pytest.mark.parametrize("settings", [{}, AVERAGED], ids=["adam", "averaged"])
def test_a_killed_training_goes_on_where_it_was(
    settings: dict[str, Any], whole: Any, tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    """SIGKILL in the third epoch: two are kept, and the rest is what it would have been."""
    recipe = make_recipe(**settings)
    result = run(recipe, shades, tmp_path / "whole") if settings else whole[0]
    folder = tmp_path / "killed"
    process = killed(folder, settings)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert [p.name for p in folder.glob("*/*")] == ["epoch-00002"]
    recorder = Recorder()
    resumed = run(recipe, shades, folder, recorder)
    assert resumed.resumed_from == recorder.first_epoch == 2
    assert [r.epoch for r in recorder.reports] == [3, 4]
    # Optimizer, averages, batches, schedule and early stopping go on as if nothing had happened, to the bit.
    assert resumed.history == result.history
    assert resumed.best_epoch == result.best_epoch
    assert same_weights(resumed, result)


@pytest.mark.fault("P4")
def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path, make_recipe: Any, shades: DataSet) -> None:
    recorder = Recorder(die_in_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(), shades, tmp_path, recorder)
    assert recorder.ended == 1
    assert run(make_recipe(), shades, tmp_path).resumed_from == 1


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, make_recipe: Any, shades: DataSet) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(), shades, tmp_path, Recorder(die_in_epoch=2))
    (folder,) = tmp_path.iterdir()
    torn = folder / "epoch-00003"
    torn.mkdir()
    (torn / "state.json").write_bytes(b'{"epochs_done": 3,')
    (folder / ".writing-1").mkdir()
    assert run(make_recipe(), shades, tmp_path).resumed_from == 2
    assert not (folder / ".writing-1").exists()


def test_early_stopping_keeps_the_best_weights(tmp_path: Path, make_recipe: Any, shades: DataSet) -> None:
    """A learning rate that is too high reaches its best in the middle and leaves it again."""
    recorder = Recorder()
    recipe = make_recipe(epochs=12, patience=2, learning_rate=0.05)
    result = run(recipe, shades, tmp_path, recorder)
    losses = result.history["val_loss"]
    assert len(losses) == result.best_epoch + 2 < 12
    assert any("stopped after epoch" in note for note in result.notes)
    assert [r.epoch for r in recorder.reports if r.best][-1] == result.best_epoch
    assert validation_loss(result.model, shades) == pytest.approx(min(losses), rel=1e-3, abs=1e-5)


def validation_loss(model: Any, data: DataSet) -> float:
    x = np.stack([item.load()[0] for item in data.validation.items]).astype(np.float32)
    y = np.array([item.label for item in data.validation.items])
    scores = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))
    return float(-np.log(scores[np.arange(len(y)), y]).mean())


def test_averaged_weights_are_what_is_validated_and_kept(
    tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    """The average of a momentum near 1 hardly leaves the first weights; the weights themselves learn at once."""
    plain = run(make_recipe(epochs=2), shades, tmp_path)
    slow = run(make_recipe(epochs=2, average=0.999), shades, tmp_path)
    assert slow.history["loss"] == plain.history["loss"], "training itself is the same"
    assert slow.history["val_loss"][-1] > plain.history["val_loss"][-1] * 1.1
    assert validation_loss(slow.model, shades) == pytest.approx(min(slow.history["val_loss"]), rel=1e-3)


@pytest.mark.parametrize("average", [None, 0.9])
def test_without_a_validation_split_the_last_weights_are_kept(
    tmp_path: Path, make_recipe: Any, shades: DataSet, average: float | None
) -> None:
    empty = msgspec.structs.replace(shades.validation, items=(), groups=0)
    recorder = Recorder()
    recipe = make_recipe(epochs=3, average=average)
    result = run(recipe, msgspec.structs.replace(shades, validation=empty), tmp_path / "a", recorder)
    assert set(result.history) == {"loss", "accuracy"}
    assert result.best_epoch == 3
    assert [(r.best, r.val_loss, r.val_score) for r in recorder.reports] == [(True, None, None)] * 3
    judged = run(recipe, shades, tmp_path / "b")
    assert judged.history["loss"] == result.history["loss"]
    assert judged.best_epoch == 3, "so both keep the same weights"
    assert same_weights(judged, result)


def test_imbalanced_classes_are_weighted_and_it_is_said(
    tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    dark = [i for i in shades.train.items if i.label == 0]
    few = msgspec.structs.replace(
        shades.train, items=(*dark, *[i for i in shades.train.items if i.label == 1][:6])
    )
    data = msgspec.structs.replace(shades, train=few)
    result = run(make_recipe(epochs=1), data, tmp_path)
    assert any("bright: 6 frames, weight 2.50" in note for note in result.notes)
    result = run(make_recipe(epochs=1, class_weights="none"), data, tmp_path)
    assert not any("weight" in note for note in result.notes)


def test_weights_make_classes_count_the_same() -> None:
    weights = class_weights(np.repeat([0, 1, 2], [80, 10, 10]), 3)
    assert weights is not None
    assert np.allclose(weights * [80, 10, 10], 100 / 3)
    assert class_weights(np.repeat([0, 1], [15, 10]), 2) is None


def test_batches_put_only_the_named_classes_on_a_screen() -> None:
    x = np.full((12, 22, 22, 1), 255, np.uint8)
    batches = TrainingBatches(
        Examples(x, np.arange(12) % 3, (), ()),
        Classes(3, 0.0, None),
        batch=5,
        augmenter=Augmenter(AugmentRecipe(pad=1.0)),
        screen=(True, False, True),
        seed=1,
    )
    every = [batches[n] for n in range(len(batches))]
    frames = np.concatenate([pixels for pixels, _ in every])
    labels = np.concatenate([targets["label"] for _, targets in every])
    assert [len(pixels) for pixels, _ in every] == [5, 5, 2]
    assert sorted(labels.tolist()) == sorted((np.arange(12) % 3).tolist())
    untouched = frames.min(axis=(1, 2, 3)) == 255
    assert np.array_equal(untouched, labels == 1)
    first = batches[0][0]
    batches.epoch = 1
    assert not np.array_equal(batches[0][0], first)
    batches.epoch = 0
    assert np.array_equal(batches[0][0], first)


def test_screen_labels_have_to_be_classes(tmp_path: Path, make_recipe: Any, shades: DataSet) -> None:
    recipe = make_recipe(epochs=1, augment=AugmentRecipe(pad=0.5, screen_labels=("grey",)))
    with pytest.raises(RecipeError, match="names grey; the classes are dark, bright"):
        run(recipe, shades, tmp_path)


def test_augmented_training_runs(tmp_path: Path, make_recipe: Any, shades: DataSet) -> None:
    vary = AugmentRecipe(flip_horizontal=0.5, rotate=10, noise=5, brightness=0.1, speckle=0.5)
    recorder = Recorder()
    run(make_recipe(epochs=1, augment=vary), shades, tmp_path, recorder)
    assert np.isfinite(recorder.reports[0].loss)


def test_a_class_without_training_frames_is_refused(
    tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    data = msgspec.structs.replace(shades, labels=("dark", "bright", "grey"))
    with pytest.raises(RecipeError, match="no training frames for grey"):
        run(make_recipe(), data, tmp_path)


def test_an_empty_split_and_frames_of_another_size_are_refused(tmp_path: Path, make_recipe: Any) -> None:
    network = keras.Sequential([keras.Input((22, 22, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    good = Examples(np.zeros((4, 22, 22, 1), np.uint8), np.zeros(4, np.int64), (), ())
    none = Examples(np.zeros((0, 22, 22, 1), np.uint8), np.zeros(0, np.int64), (), ())
    small = Examples(np.zeros((4, 20, 22, 1), np.uint8), np.zeros(4, np.int64), (), ())
    for train_set, validation, expected in (
        (none, good, "the train split is empty"),
        (small, good, r"train frames are \(20, 22, 1\), the model takes \(22, 22, 1\)"),
    ):
        with pytest.raises(RecipeError, match=expected):
            fit(
                network,
                Classes(2, 0.0, None),
                train_set,
                validation,
                make_recipe(),
                tmp_path,
                SilentSteps(),
            )


class Diverging:
    """An objective whose loss is no number."""

    metric = ""

    def __init__(self, encode: Callable[..., Any]) -> None:
        self.encode = encode

    def loss(self, targets: Any, outputs: Any) -> Any:
        return keras.ops.sum(outputs[0]) * float("nan")

    def score(self, targets: Any, outputs: Any) -> Any:
        return keras.ops.zeros(())


class Exhausting(Diverging):
    """An objective that needs more memory than there is."""

    def loss(self, targets: Any, outputs: Any) -> Any:
        raise MemoryError("Unable to allocate 1.0 TiB")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Diverging, "not finite in epoch 1"), (Exhausting, "out of memory while training.*1.0 TiB")],
)
def test_a_training_that_cannot_go_on_ends_in_one_line(
    kind: Any, expected: str, tmp_path: Path, make_recipe: Any
) -> None:
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    some = Examples(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64), (), ())
    objective = kind(Classes(2, 0.0, None).encode)
    recorder = Recorder()
    with pytest.raises(RecipeError, match=expected) as caught:
        fit(network, objective, some, some, make_recipe(), tmp_path, watched_by(recorder))
    assert "\n" not in str(caught.value)
    assert caught.value.hint is not None
    assert recorder.ended == 1


@pytest.mark.fault("K3")
def test_a_work_folder_that_cannot_be_written_is_a_sink_error(
    tmp_path: Path, make_recipe: Any, shades: DataSet
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match="cannot be written") as caught:
        run(make_recipe(), shades, tmp_path / "file")
    assert caught.value.exit_code == 6


def test_the_state_on_disk_can_be_read_by_people(whole: Any) -> None:
    _, folder, _ = whole
    states = [msgspec.json.decode(file.read_bytes()) for file in folder.glob("*/finished/state.json")]
    assert EPOCHS in [state["epochs_done"] for state in states]
    assert all(state["stopped"] for state in states)
