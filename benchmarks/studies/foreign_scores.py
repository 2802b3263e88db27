"""Scores of frames by an autoencoder, as a device computes them, and what they are worth."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from foreign_sets import KINDS, Picture

from bedside.export.metrics.intervals import RESAMPLES
from bedside.export.metrics.ranking import auroc
from bedside.export.steps import Steps
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import BundleError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.latent import make_preprocess
from bedside.runtime.loading import open_session
from bedside.runtime.stream.guard import Guard

#: Invocations that are timed.
_TIMED = 300


class Scored(msgspec.Struct, frozen=True):
    """Scores of one kind or part of it.

    Attributes:
        name: For example `ultrasound` or `ultrasound: nerve`.
        frames: How many.
        groups: How many.
        auroc: Against the colonoscopy frames.
        interval: 95 %, bootstrap over the groups of both sides.
        withheld: Fraction beyond the bundle's threshold.
    """

    name: str
    frames: int
    groups: int
    auroc: float
    interval: tuple[float, float]
    withheld: float


class Study(msgspec.Struct, frozen=True):
    """One bundle.

    Attributes:
        bundle: Name, version and the first characters of its digest.
        variant: That ran.
        engine: That ran it.
        invoke_ms: Median time of an invocation, one thread.
        frames: Of colonoscopy.
        groups: Of them.
        threshold: Of the bundle.
        stated: False alarms that the bundle states.
        false_alarms: Colonoscopy frames beyond the threshold, as a fraction.
        scored: Kinds and their parts.
        notes: What a reader must know.
    """

    bundle: str
    variant: str
    engine: str
    invoke_ms: float
    frames: int
    groups: int
    threshold: float
    stated: float
    false_alarms: float
    scored: tuple[Scored, ...]
    notes: tuple[str, ...] = ()


class Watch:
    """The autoencoder of a bundle, or its guard, as a device runs it.

    Args:
        bundle: Open.
        variant: Id; None: int8 on LiteRT where it is shipped, else the default.
    """

    def __init__(self, bundle: Bundle, variant: str | None) -> None:
        manifest = bundle.manifest
        role = "guard" if "guard" in manifest.models else "main"
        model = manifest.models[role]
        if variant is None and any(v.id == "tflite-int8" for v in model.shipped):
            variant = "tflite-int8"
        loaded = open_session(bundle, role=role, variant=variant, options=SessionOptions(threads=1))
        sees_input = role == "guard" and manifest.guard_sees == "input"
        try:
            self.guard = Guard(loaded, make_preprocess(model.input), "input" if sees_input else "frame")
        except BundleError:
            loaded.session.close()
            raise
        self._main = manifest.main.input if sees_input else None
        self._lay = None if self._main is None else make_preprocess(self._main)

    def score(self, pixels: Pixels, color: Color) -> float:
        """Of a captured frame, `(H, W, C) uint8`."""
        if self._main is not None and self._lay is not None:
            seen = np.empty(self._main.shape, np.uint8)
            self._lay(pixels, color, seen)
            pixels, color = seen[0], self._main.color
        return self.guard.look(pixels, color).score

    def invoke_ms(self) -> float:
        """Median time of an invocation."""
        session, clock = self.guard.loaded.session, MonotonicClock()
        spent = []
        for _ in range(_TIMED):
            begun = clock.now_ns()
            session.invoke()
            spent.append(clock.now_ns() - begun)
        return float(np.median(spent)) / 1e6


def judge(
    bundle: Bundle, inside: list[Picture], outside: list[Picture], variant: str | None, steps: Steps
) -> Study:
    """Score everything, and compare.

    Args:
        bundle: Open, with an autoencoder.
        inside: Frames of the kind that it was made for.
        outside: Others.
        variant: Id; None: int8.
        steps: Who watches.

    Raises:
        BedsideError: The bundle is no autoencoder, or frames cannot be read.
    """
    watch = Watch(bundle, variant)
    try:
        with steps.step("score frames") as progress:
            scores = []
            every = [*inside, *outside]
            for done, picture in enumerate(every, start=1):
                scores.append(watch.score(*picture.load()))
                progress(done, len(every))
        loaded, threshold = watch.guard.loaded, watch.guard.threshold
        invoke_ms = watch.invoke_ms()
    finally:
        watch.guard.close()
    values = np.array(scores)
    known, foreign = values[: len(inside)], values[len(inside) :]
    scored = []
    for kind in KINDS:
        parts = dict.fromkeys(p.part for p in outside if p.kind == kind)
        for part in (None, *parts) if len(parts) > 1 else (None,) if parts else ():
            chosen = [i for i, p in enumerate(outside) if p.kind == kind and part in (None, p.part)]
            pictures = [outside[i] for i in chosen]
            low, high = interval(known, _groups(inside), foreign[chosen], _groups(pictures))
            scored.append(
                Scored(
                    name=kind if part is None else f"{kind}: {part}",
                    frames=len(chosen),
                    groups=len(set(_groups(pictures))),
                    auroc=auroc(known, foreign[chosen]),
                    interval=(low, high),
                    withheld=float((foreign[chosen] > threshold).mean()),
                )
            )
    manifest, described = bundle.manifest, watch.guard.describe()
    return Study(
        bundle=f"{manifest.name} {manifest.version}, {bundle.digest[:12]}",
        variant=loaded.variant.id,
        engine=described["engine"],
        invoke_ms=invoke_ms,
        frames=len(inside),
        groups=len(set(_groups(inside))),
        threshold=threshold,
        stated=described["false_alarm"],
        false_alarms=float((known > threshold).mean()),
        scored=tuple(scored),
    )


def interval(
    inside: npt.NDArray[np.float64],
    inside_groups: list[str],
    outside: npt.NDArray[np.float64],
    outside_groups: list[str],
) -> tuple[float, float]:
    """95 % percentile interval of the AUROC, groups of both sides drawn with replacement."""
    rng = np.random.default_rng(0)
    sides = [(inside, _members(inside_groups)), (outside, _members(outside_groups))]
    found = []
    for _ in range(RESAMPLES):
        a, b = (
            scores[np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])]
            for scores, members in sides
        )
        found.append(auroc(a, b))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _groups(pictures: list[Picture]) -> list[str]:
    return [picture.group for picture in pictures]


def _members(groups: list[str]) -> list[npt.NDArray[np.int64]]:
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return [np.array(found, np.int64) for found in members.values()]
