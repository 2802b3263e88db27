"""Cases of the holdout: which ones are shown, and what the default variant says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.convert.artifact import Artifact
from bedside.export.gates.evaluate import Holdout, run
from bedside.export.reports import drawing
from bedside.export.tasks.protocol import Row, Samples
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.frame import Pixels

if TYPE_CHECKING:
    from bedside.export.finished import Finished


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One case for the report.

    Attributes:
        group: Cases with the same one stand under one heading.
        key: Of the item.
        picture: `(H, W, 3) uint8`, BGR, drawn upon.
        verdict: In a few words.
        good: Whether the verdict is a good one; None where it is neither.
        lines: Below the verdict.
        wide: Whether the picture is a strip of several.
        legend: Names and CSS colours of what is drawn.
    """

    group: str
    key: str
    picture: Pixels
    verdict: str
    good: bool | None = None
    lines: tuple[str, ...] = ()
    wide: bool = False
    legend: tuple[tuple[str, str], ...] = ()


class Cases(msgspec.Struct, frozen=True):
    """The holdout, and what was said of it.

    Attributes:
        samples: Frames and truth.
        keras: Rows of the Keras model.
        rows: Rows of the default variant.
        variant: Its id.
        artifact: Its file.
        holdout: How outputs are read.
        spec: Of the input.
    """

    samples: Samples
    keras: tuple[Row, ...]
    rows: tuple[Row, ...]
    variant: str
    artifact: Artifact
    holdout: Holdout
    spec: InputSpec

    @classmethod
    def of(cls, done: Finished) -> Cases:
        """Of an export after the gate."""
        judged, holdout = done.judged, done.holdout
        measured = next(r.measured for r in judged.results if r.id == judged.default)
        assert measured is not None, "what was not measured is not shipped"
        return cls(
            holdout.samples,
            holdout.rows,
            measured.rows,
            judged.default,
            judged.artifacts[judged.default],
            holdout,
            holdout.spec,
        )

    def picture(self, index: int) -> Pixels:
        """A frame as the model saw it, ready to be drawn upon."""
        return drawing.picture(self.samples.inputs[index], self.spec.color)

    def outputs(self, chosen: Sequence[int]) -> tuple[npt.NDArray[np.float32], ...]:
        """Raw outputs of the default variant for a few frames (at most 32), batch of them in front.

        Raises:
            EngineError: It does not run.
        """
        index = list(chosen)
        few = Samples(
            self.samples.inputs[index],
            [self.samples.truth[i] for i in index],
            tuple(self.samples.groups[i] for i in index),
            tuple(self.samples.keys[i] for i in index),
        )
        return run(self.artifact, self.holdout, few)[1]


def pick(badness: npt.NDArray[Any], cases: Cases, count: int) -> list[int]:
    """Indices of the lowest values, lowest first, of different groups as far as there are enough.

    Args:
        badness: `(N,)`; what is not finite is not picked.
        cases: Of the frames.
        count: At most.
    """
    order = [int(i) for i in np.argsort(badness, kind="stable") if np.isfinite(badness[i])]
    seen: set[str] = set()
    first: list[int] = []
    for i in order:
        if cases.samples.groups[i] not in seen:
            seen.add(cases.samples.groups[i])
            first.append(i)
    rest = [i for i in order if i not in set(first)] if len(first) < count else []
    taken = [*first, *rest][:count]
    return sorted(taken, key=lambda i: float(badness[i]))
