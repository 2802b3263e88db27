"""Progress of a training, for whoever shows it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class EpochReport(msgspec.Struct, frozen=True, kw_only=True):
    """One finished epoch.

    Attributes:
        epoch: From 1.
        epochs: At most that many there will be.
        loss: On training frames, as augmented.
        val_loss: On the validation split; None without one.
        metric: Name of the score; empty where there is none.
        score: On training frames, as augmented.
        val_score: On the validation split.
        best: Whether `val_loss` is the lowest so far; always, without a validation split.
    """

    epoch: int
    epochs: int
    loss: float
    val_loss: float | None
    metric: str = ""
    score: float | None = None
    val_score: float | None = None
    best: bool = False


class TrainingProgress(Protocol):
    """What a training tells while it runs."""

    def begin(self, epochs: int, steps: int, first_epoch: int) -> None:
        """It starts.

        Args:
            epochs: At most that many.
            steps: Batches per epoch.
            first_epoch: From 0; more where an interrupted training goes on.
        """
        ...

    def step(self, epoch: int, step: int) -> None:
        """A batch is done; both count from 0."""
        ...

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""
        ...

    def end(self) -> None:
        """No more epochs."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, epochs: int, steps: int, first_epoch: int) -> None:
        """See `TrainingProgress`."""

    def step(self, epoch: int, step: int) -> None:
        """See `TrainingProgress`."""

    def epoch(self, report: EpochReport) -> None:
        """See `TrainingProgress`."""

    def end(self) -> None:
        """See `TrainingProgress`."""


class BarProgress:
    """A bar with epoch, losses, validation score and the time that is left at most.

    Args:
        console: Where it is drawn; a progress bar belongs on stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._steps = 1

    def __enter__(self) -> BarProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, epochs: int, steps: int, first_epoch: int) -> None:
        """See `TrainingProgress`."""
        self._steps = max(steps, 1)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("epoch"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
        )
        note = f"resumed after epoch {first_epoch}" if first_epoch else ""
        self._task = self._bar.add_task("training", total=epochs, completed=first_epoch, note=note)
        self._bar.start()

    def step(self, epoch: int, step: int) -> None:
        """See `TrainingProgress`."""
        if self._bar is not None and step + 1 < self._steps:
            self._bar.update(self._task, completed=epoch + (step + 1) / self._steps)

    def epoch(self, report: EpochReport) -> None:
        """See `TrainingProgress`."""
        if self._bar is not None:
            note = f"loss {report.loss:.3f}"
            if report.val_loss is not None:
                note += f", val loss {report.val_loss:.3f}"
            if report.metric and report.val_score is not None:
                note += f", val {report.metric} {report.val_score:.3f}"
            self._bar.update(self._task, completed=report.epoch, note=note)

    def end(self) -> None:
        """See `TrainingProgress`."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
