"""The state of a training on disk: whole after every epoch, whatever happens in between.

`keras.callbacks.BackupAndRestore` keeps weights and the epoch, in two files, and neither the best weights nor
what early stopping has counted; a training that it resumes stops later, and may end with worse weights. Here
one folder holds all of it, and comes into being by one rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bedside.runtime.errors import SinkError

_WEIGHTS = ".weights.h5"
_BEST = "best.npz"
_SEEDS = "seeds.npz"
_STATE = "state.json"
_DONE = "finished"


#: Compiled Keras models by name.
Models = Mapping[str, Any]


class State(msgspec.Struct, frozen=True):
    """Where a training is.

    Attributes:
        epochs_done: Finished epochs.
        best_epoch: From 0; the one whose weights `best` are.
        best_loss: Its validation loss; its loss where there is no validation split.
        wait: Epochs since then.
        seconds: Spent so far, interruptions left out.
        history: Per metric one number per finished epoch.
        stopped: Whether it has ended, early or not.
    """

    epochs_done: int
    best_epoch: int
    best_loss: float
    wait: int
    seconds: float
    history: dict[str, tuple[float, ...]]
    stopped: bool = False


class CheckpointFolder:
    """Checkpoints of one training: `epoch-00007/` while it runs, `finished/` afterwards.

    Args:
        folder: Its own; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for litter in folder.glob(".writing-*"):
                shutil.rmtree(litter, ignore_errors=True)
        except OSError as error:
            raise _refused(folder, error) from None

    def latest(self) -> tuple[State, Path] | None:
        """The newest whole checkpoint, or None."""
        for path in (self.folder / _DONE, *sorted(self.folder.glob("epoch-*"), reverse=True)):
            try:
                state = msgspec.json.decode((path / _STATE).read_bytes(), type=State)
            except (OSError, msgspec.DecodeError):
                continue
            return state, path
        return None

    def save(self, models: Models, state: State, best: list[Any]) -> None:
        """Write a checkpoint of all models with their optimizers, then drop older ones.

        Args:
            models: Compiled, by name.
            state: Where the training is; `state.stopped` makes it the last.
            best: Weights of the network at its best epoch, as `get_weights()` gives them.

        Raises:
            SinkError: The disk is full or not writable.
        """
        name = _DONE if state.stopped else f"epoch-{state.epochs_done:05d}"
        writing = self.folder / f".writing-{os.getpid()}"
        try:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir()
            if not state.stopped:
                for key, model in models.items():
                    model.save_weights(writing / f"{key}{_WEIGHTS}")
                np.savez(writing / _SEEDS, *(np.asarray(v) for v in _seeds(models)))
            np.savez(writing / _BEST, *best)
            (writing / _STATE).write_bytes(msgspec.json.encode(state))
            older = [p for p in self.folder.glob("epoch-*") if p.name != name]
            shutil.rmtree(self.folder / name, ignore_errors=True)
            writing.replace(self.folder / name)
        except OSError as error:
            shutil.rmtree(writing, ignore_errors=True)
            raise _refused(self.folder, error) from None
        for path in older:
            shutil.rmtree(path, ignore_errors=True)

    def restore(self, models: Models, path: Path) -> list[Any]:
        """Load weights and optimizers of a checkpoint into compiled models; a finished one has none.

        Returns:
            Weights of the network at its best epoch.

        Raises:
            SinkError: The checkpoint is damaged.
        """
        try:
            for key, model in models.items():
                if (path / f"{key}{_WEIGHTS}").exists():
                    model.optimizer.build(model.trainable_variables)
                    model.load_weights(path / f"{key}{_WEIGHTS}")
            if (path / _SEEDS).exists():
                for variable, value in zip(_seeds(models), _arrays(path / _SEEDS), strict=True):
                    variable.assign(value)
            return _arrays(path / _BEST)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise SinkError(
                f"the training state cannot be read: {error}",
                where=str(path),
                hint="remove that folder; the training starts over",
            ) from None


def _seeds(models: Models) -> list[Any]:
    """Where dropout is in its sequence of random numbers: `save_weights` leaves that out."""
    found = {id(v): v for model in models.values() for v in model.variables if "seed_generator" in v.path}
    return list(found.values())


def _arrays(path: Path) -> list[Any]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"arr_{index}"] for index in range(len(archive.files))]


def _refused(folder: Path, error: OSError) -> SinkError:
    return SinkError(
        f"the state of the training cannot be written: {error.strerror or error}",
        where=str(folder),
        hint="choose another work folder, or make room",
    )
