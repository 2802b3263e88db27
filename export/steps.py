"""Steps of an export, told to whoever watches: a progress bar, a log, or nobody. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bedside.export.data.types import Progress
from bedside.export.training.progress import Silent as SilentTraining
from bedside.export.training.progress import TrainingProgress


class Steps(Protocol):
    """Somebody who watches.

    Attributes:
        training: Who watches the epochs.
    """

    training: TrainingProgress

    def step(self, name: str) -> AbstractContextManager[Progress]:
        """Begin a step.

        Args:
            name: For people, for example `evaluate tflite-int8`.

        Returns:
            A context manager that lasts as long as the step, and gives what to call with `(done, total)`.
        """
        ...

    def say(self, line: str) -> None:
        """Tell one line that a person should read now."""
        ...


class Silent:
    """Nobody watches."""

    def __init__(self) -> None:
        self.training: TrainingProgress = SilentTraining()

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """See `Steps.step`."""
        yield lambda done, total: None

    def say(self, line: str) -> None:
        """See `Steps.say`."""
