"""A result: what came out, how old it is, and which bytes produced it."""

from __future__ import annotations

import enum

import msgspec

from bedside.runtime.answers import TaskResult
from bedside.runtime.frame import SourceReference

SCHEMA = 1


class Outcome(enum.StrEnum):
    """What became of a frame that was worked on."""

    OK = "ok"
    WITHHELD = "withheld"
    FAILED = "failed"


class Dropped(enum.StrEnum):
    """Why a captured frame was never worked on.

    `replaced` by a newer one while it waited; too `late` to be shown, had it been begun; `skipped` on a rung
    of the ladder that works on every n-th frame; left over at `shutdown`.
    """

    REPLACED = "replaced"
    LATE = "late"
    SKIPPED = "skipped"
    SHUTDOWN = "shutdown"


class Withheld(enum.StrEnum):
    """Why a computed result is not shown."""

    STALE = "stale"
    NOT_FINITE = "not-finite"
    OUT_OF_DISTRIBUTION = "out-of-distribution"


class Failed(enum.StrEnum):
    """Why a frame could not be worked on."""

    UNDECODABLE = "undecodable"
    GEOMETRY = "geometry"
    ENGINE = "engine"


Reason = Dropped | Withheld | Failed


class Anchor(msgspec.Struct, frozen=True):
    """One moment read on both clocks, so that a person can place monotonic stamps in the day."""

    monotonic_ns: int
    unix_ns: int


class GuardScore(msgspec.Struct, frozen=True):
    """How far a frame is from those that the model was made for; beyond the threshold nothing is shown."""

    score: float
    threshold: float


class LadderState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where on its ladder a stream stood when it worked on a frame.

    Attributes:
        rung: Counted from 0, the preferred one, downwards.
        rungs: How many there are.
        every: One frame of so many is worked on.
        step: On the first result after a step, why it was taken: `misses`, `heat`, `busy` or `calm`.
    """

    rung: int
    rungs: int
    every: int = 1
    step: str | None = None


class Result(msgspec.Struct, frozen=True):
    """One line of `results.jsonl`.

    Attributes:
        schema: Version of this structure.
        session: Random id of the run.
        stream: Name of the stream in the run.
        boot: Id of the boot that monotonic stamps belong to.
        anchor: Monotonic and wall clock, read together when the session began.
        seq: Of the frame.
        captured_ns: Monotonic capture stamp of the frame.
        published_ns: Monotonic stamp of the publication.
        age_ms: `published - captured`, in ms.
        pts_ns: The stream's own time, where it has one.
        reference: DICOM object and frame, where there is one.
        outcome: `ok`, `withheld` or `failed`.
        reason: Why, where not `ok`.
        task: Of the bundle.
        result: Task fields; None unless the outcome is `ok`.
        bundle: Digest of the bundle: sha256 of its `bundle.json`.
        variant: Id of the variant that ran.
        engine: Engine that ran it.
        precision: Of the variant, with the engine's precision hint behind a `+` where one was set.
        guard: Where the bundle has a guard and it saw the frame.
        ladder: Where the stream has more than one rung.
    """

    schema: int
    session: str
    stream: str
    boot: str
    anchor: Anchor
    seq: int
    captured_ns: int
    published_ns: int
    age_ms: float
    pts_ns: int | None
    reference: SourceReference | None
    outcome: Outcome
    reason: str | None
    task: str
    result: TaskResult | None
    bundle: str
    variant: str
    engine: str
    precision: str
    guard: GuardScore | None = None
    ladder: LadderState | None = None
