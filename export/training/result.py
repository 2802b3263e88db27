"""What a training gave."""

from __future__ import annotations

from typing import Any

import msgspec


class TrainingResult(msgspec.Struct, frozen=True):
    """What a training gave.

    Attributes:
        model: The network, with the weights of its best epoch.
        history: Per metric (`loss`, `val_loss`, and the task's score) one number per epoch.
        best_epoch: From 1; the epoch with the lowest validation loss, or the last without a validation split.
        resumed_from: Epochs that an earlier call had finished, None where this one began at the beginning.
        seconds: Spent in training, over all calls, interruptions left out.
        notes: For the report: class weights, early stop, epochs that ran out, small data.
    """

    model: Any
    history: dict[str, tuple[float, ...]]
    best_epoch: int
    resumed_from: int | None
    seconds: float
    notes: tuple[str, ...] = ()
