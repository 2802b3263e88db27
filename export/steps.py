"""Steps that take a while, told to whoever watches: a progress bar, a log, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

#: Called with `(done, total)`; both count the same thing.
Advance = Callable[[int, int], None]


class Steps(Protocol):
    """Somebody who watches the steps of an export."""

    def step(self, name: str) -> AbstractContextManager[Advance]:
        """Begin a step.

        Args:
            name: For people, for example `train`.

        Returns:
            A context manager that lasts as long as the step and gives what to call when something is done.
        """
        ...

    def say(self, line: str) -> None:
        """Tell one line that a person should read now."""
        ...


class Silent:
    """Nobody watches."""

    @contextmanager
    def step(self, name: str) -> Iterator[Advance]:
        """See `Steps.step`."""
        yield lambda done, total: None

    def say(self, line: str) -> None:
        """See `Steps.say`."""
