"""The one tree of errors. Vendor exceptions are mapped to it at the edge and never leak."""

from typing import Any, ClassVar


def printable(text: str) -> str:
    """`text` with everything that a terminal might obey escaped: line ends, control and bidirectional codes.

    Names, labels and keys come out of files that anybody may have written.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class BedsideError(Exception):
    """Base of everything bedside raises on purpose.

    Args:
        what: What happened, in one line, with expected and actual values.
        where: The file, source, engine or key it happened at.
        hint: What the reader should do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = " ".join(what.split())
        self.where = where
        self.hint = " ".join(hint.split())

    def __str__(self) -> str:
        """One line: `where: what (hint)`."""
        line = f"{self.where}: {self.what}" if self.where else self.what
        return printable(f"{line} ({self.hint})" if self.hint else line)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross from child processes; by default an exception is rebuilt from positional arguments."""
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type[BedsideError], what: str, where: str, hint: str) -> BedsideError:
    return kind(what, where=where, hint=hint)


class GateError(BedsideError):
    """A check or an accuracy gate failed."""

    exit_code = 1


class UsageError(BedsideError):
    """The call is off: an option, a recipe or a URI."""

    exit_code = 2


class ProfileError(UsageError):
    """A device profile is unknown, mistyped or contradicts itself."""


class RecipeError(UsageError):
    """An export recipe is unknown, mistyped or contradicts itself."""


class BundleError(BedsideError):
    """A bundle is missing, damaged, hostile, too new, or not what it says."""

    exit_code = 3


class TrustError(BundleError):
    """A bundle is not signed as it has to be, or what says which keys are trusted is damaged."""


class SourceError(BedsideError):
    """A frame source cannot be opened or read."""

    exit_code = 4


class FrameError(SourceError):
    """One frame is unusable; the source goes on. The frame is counted as failed."""


class EngineError(BedsideError):
    """An engine is absent, refuses a model, or fails while it runs."""

    exit_code = 5


class SinkError(BedsideError):
    """A result cannot be written."""

    exit_code = 6
