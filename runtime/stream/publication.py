"""From an answer to a result: who says it, how old it is, who hears it; and the ledger lets the frame go."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bedside.runtime.clock import Clock
from bedside.runtime.errors import SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.result import SCHEMA, Anchor, Failed, LadderState, Outcome, Reason, Result
from bedside.runtime.stream.delivery import Delivery
from bedside.runtime.stream.inference import Answer
from bedside.runtime.stream.ladder import Rung
from bedside.runtime.stream.ledger import Ledger


class StreamIdentity(msgspec.Struct, frozen=True):
    """What every result of a stream says about where it came from.

    Attributes:
        session: Random id of the run.
        stream: Name of the stream.
        boot: Id of the boot that monotonic stamps belong to.
        task: Of the bundle.
        bundle: Digest of the bundle.
    """

    session: str
    stream: str
    boot: str
    task: str
    bundle: str


class Publisher:
    """Publishes the results of a stream. The inferring thread owns it.

    Args:
        identity: For results.
        ledger: Lets every frame go that is published.
        clock: For the anchor.
        on_result: Called with every result; must be quick.

    Attributes:
        deliveries: To the sinks.
        on_result: As given.
    """

    def __init__(
        self,
        identity: StreamIdentity,
        ledger: Ledger,
        clock: Clock,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self.deliveries: tuple[Delivery, ...] = ()
        self.on_result = on_result
        self._identity, self._ledger = identity, ledger
        self._anchor = Anchor(clock.now_ns(), clock.unix_ns())
        self._count = 0
        self._first_ns = self._last_ns = 0

    def publish(
        self,
        frame: Frame,
        published_ns: int,
        reason: Reason | None,
        answer: Answer,
        rung: Rung,
        ladder: LadderState | None,
    ) -> SinkError | None:
        """Publish what came of a frame.

        Args:
            frame: That was worked on.
            published_ns: When its age was taken.
            reason: Why it has no result; None where it has one.
            answer: Of the model.
            rung: That it ran on.
            ladder: For the result.

        Returns:
            Why results of a recording are being lost, where they are: it can be run again, and going on
            without its results would waste an hour to lose them.
        """
        if reason is None:
            outcome = Outcome.OK
        else:
            outcome = Outcome.FAILED if isinstance(reason, Failed) else Outcome.WITHHELD
        identity, loaded = self._identity, rung.loaded
        result = Result(
            schema=SCHEMA,
            session=identity.session,
            stream=identity.stream,
            boot=identity.boot,
            anchor=self._anchor,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            published_ns=published_ns,
            age_ms=(published_ns - frame.captured_ns) / 1e6,
            pts_ns=frame.pts_ns,
            reference=frame.reference,
            outcome=outcome,
            reason=reason,
            task=identity.task,
            result=answer.result if reason is None else None,
            bundle=identity.bundle,
            variant=loaded.variant.id,
            engine=loaded.session.engine,
            precision=rung.precision,
            guard=answer.guard,
            ladder=ladder,
        )
        self._first_ns = self._first_ns if self._count else published_ns
        self._last_ns = published_ns
        self._count += 1
        broken: SinkError | None = None
        for delivery in self.deliveries:
            if not delivery.offer(result, frame) and delivery.wait and delivery.error is not None:
                broken = broken or delivery.error
        if reason is None:
            self._ledger.process(frame.seq)
        else:
            self._ledger.lose(frame.seq, reason)
        if self.on_result is not None:
            self.on_result(result)
        return broken

    def rate(self) -> tuple[float, float | None]:
        """Seconds from the first publication to the last, and publications per second; None with fewer than two."""
        elapsed = (self._last_ns - self._first_ns) / 1e9
        return elapsed, (self._count - 1) / elapsed if elapsed > 0 else None
