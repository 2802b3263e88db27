"""What an evaluation found: the same few numbers for every task."""

from __future__ import annotations

from typing import Any

import msgspec

from bedside.export.metrics.intervals import Interval
from bedside.runtime.bundle.manifest import ClassMetric, Evaluation, HostSpeed


class ClassMark(msgspec.Struct, frozen=True):
    """One class.

    Attributes:
        label: Its name.
        samples: Frames or boxes that have it.
        value: Recall, Dice or AP50; None where the holdout has none of it.
    """

    label: str
    samples: int
    value: float | None


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """A model against the truth.

    Attributes:
        metric: For example `accuracy` or `Dice`.
        value: Of the metric.
        interval: 95 % interval of the value.
        method: How the interval was made.
        samples: Frames that were judged.
        higher_is_better: False for errors.
        classes: Per class.
        others: Further metrics by name.
        baseline: What always giving the same answer reaches; None where that says nothing.
        confusion: Classification: counts, rows are the truth, columns the decision.
        reliability: Per bin of confidence: middle, mean confidence, fraction that was right, and count.
    """

    metric: str
    value: float
    interval: Interval
    method: str
    samples: int
    higher_is_better: bool = True
    classes: tuple[ClassMark, ...] = ()
    others: dict[str, float] = {}
    baseline: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[tuple[float, float, float, int], ...] = ()

    @property
    def worst(self) -> tuple[str, float] | None:
        """The class with the lowest value; None where there are no classes."""
        known = [(c.value, c.label) for c in self.classes if c.value is not None]
        return min(known)[::-1] if known else None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on the holdout, on one engine of this host.

    Attributes:
        marks: Against the truth.
        agreement: Fraction of decisions that are the Keras model's (pictures: SSIM to its picture).
        difference: Largest relative difference of an output from Keras'.
        engine: Engine and version, for example `litert 2.3.0`.
        invoke_ms: Median time of an invocation, one thread, in ms.
        rows: What it said of every frame, for the report; as the task has it.
    """

    marks: Marks
    agreement: float
    difference: float
    engine: str
    invoke_ms: float
    rows: tuple[Any, ...] = ()


def evaluation(
    measured: Measured, reference: Marks, kept_float: tuple[str, ...] = (), speed: HostSpeed | None = None
) -> Evaluation:
    """What the manifest keeps of it."""
    marks = measured.marks
    sign = 1.0 if marks.higher_is_better else -1.0
    wanted = {c.label: c.value for c in reference.classes}
    return Evaluation(
        metric=marks.metric,
        value=marks.value,
        reference=reference.value,
        drop=sign * (reference.value - marks.value),
        samples=marks.samples,
        interval=marks.interval,
        worst_class=None if marks.worst is None else marks.worst[0],
        agreement=measured.agreement,
        engine=measured.engine,
        classes=tuple(
            ClassMetric(label=c.label, samples=c.samples, value=c.value, reference=wanted.get(c.label))
            for c in marks.classes
            if c.value is not None
        ),
        others=marks.others,
        kept_float=kept_float,
        speed=speed,
    )
