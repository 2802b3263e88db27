"""The state of a training on disk: whole after every epoch, whatever happens in between.

`keras.callbacks.BackupAndRestore` keeps weights and the epoch, in two files, and neither the best weights nor
what early stopping has counted; a training that it resumes stops later, and may end with worse weights. Here
one folder holds all of it, and comes into being by one rename.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bedside.runtime.errors import SinkError

_WEIGHTS = "latest.weights.h5"
_BEST = "best.npz"
_STATE = "state.json"
_DONE = "finished"


class State(msgspec.Struct, frozen=True):
    """Where a training is.

    Attributes:
        epochs_done: Finished epochs.
        best_epoch: From 0; the one whose weights `best` are.
        best_loss: Its validation loss.
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

    def save(self, model: Any, state: State, best: list[Any]) -> None:
        """Write a checkpoint of `model` with its optimizer, then drop older ones.

        Args:
            model: Compiled.
            state: Where it is; `state.stopped` makes it the last.
            best: Weights of the best epoch, as `model.get_weights()` gives them.

        Raises:
            SinkError: The disk is full or not writable.
        """
        name = _DONE if state.stopped else f"epoch-{state.epochs_done:05d}"
        writing = self.folder / f".writing-{os.getpid()}"
        try:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir()
            if not state.stopped:
                model.save_weights(writing / _WEIGHTS)
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

    def restore(self, model: Any, path: Path) -> list[Any]:
        """Load weights and optimizer of a checkpoint into a compiled model.

        Returns:
            Weights of the best epoch.

        Raises:
            SinkError: The checkpoint is damaged.
        """
        try:
            if (path / _WEIGHTS).exists():
                model.optimizer.build(model.trainable_variables)
                model.load_weights(path / _WEIGHTS)
            with np.load(path / _BEST, allow_pickle=False) as archive:
                best = [archive[f"arr_{index}"] for index in range(len(archive.files))]
            if not (path / _WEIGHTS).exists():
                model.set_weights(best)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise SinkError(
                f"the training state cannot be read: {error}",
                where=str(path),
                hint="remove that folder; the training starts over",
            ) from None
        return best


def _refused(folder: Path, error: OSError) -> SinkError:
    return SinkError(
        f"the state of the training cannot be written: {error.strerror or error}",
        where=str(folder),
        hint="choose another work folder, or make room",
    )
