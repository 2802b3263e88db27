"""One visit to a candidate: a fresh process that compiles, replays goldens, measures, and ends.

A process of its own for each visit, and not one that lives on: a crash takes nothing with it, no engine's
threads run beside the next candidate's, memory is that of one engine at a time, and what differs from start to
start (memory layout, compiled kernels) is averaged over instead of being kept (Kalibera and Jones, "Rigorous
Benchmarking in Reasonable Time", ISMM 2013: repeat at the level where the variation is).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.devices.tuning.ranking import Candidate

#: `-P`: not the modules of whatever folder somebody happens to stand in.
COMMAND = (sys.executable, "-P", "-m", "bedside.devices.tuning.worker")

#: Importing, hashing, compiling and goldens may take a slow host so long, in seconds.
START_S = 60.0

#: A child whose parent died ends itself so much later than the parent would have ended it, in seconds.
GRACE_S = 5.0

_Times = Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=1 << 20)]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is asked to do.

    Attributes:
        bundle: Absolute path.
        digest: That the bundle has to have.
        candidate: To measure.
        fps: Cadence of the paced part, in frames per second.
        paced: Frames of the paced part.
        back_to_back: Invocations one after the other.
        most_s: Each part ends after so long, with what it has, in seconds.
        ends_s: The child is ended by the system after so long, should its parent be gone, in seconds.
    """

    bundle: str
    digest: str
    candidate: Candidate
    fps: float
    paced: int
    back_to_back: int
    most_s: float
    ends_s: float


class Times(msgspec.Struct, frozen=True, kw_only=True, tag="times"):
    """What a child measured.

    Attributes:
        paced_ns: Duration of each paced invocation, in ns.
        back_to_back_ns: Duration of each of the others, in ns.
        cpu_ns: Processor time of the paced part over all threads, in ns.
        memory_bytes: Resident memory that loading took.
        golden_error: Largest relative error on the goldens.
    """

    paced_ns: _Times
    back_to_back_ns: _Times
    cpu_ns: int
    memory_bytes: int
    golden_error: float


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why a child did not measure: an engine or its goldens said no."""

    reason: str


class Lost(msgspec.Struct, frozen=True):
    """What became of a child that gave no answer."""

    kind: Literal["crashed", "hung"]
    reason: str


def visit(
    order: Order, *, command: Sequence[str] = COMMAND, start_s: float = START_S
) -> Times | Refused | Lost:
    """Start a child, wait for its answer, and end it whatever happens.

    Args:
        order: What to do; its `ends_s` is set here.
        command: Takes the order as JSON on standard input and answers on standard output.
        start_s: Time until it measures, in seconds.
    """
    limit_s = start_s + 2 * order.most_s
    asked = msgspec.json.encode(msgspec.structs.replace(order, ends_s=limit_s + GRACE_S))
    try:
        # A group of its own: Ctrl-C comes to the parent alone, which then ends the child below.
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return Lost("crashed", f"cannot be started: {error.strerror or error}")
    try:
        out, err = child.communicate(asked, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Lost("hung", f"gave no answer within {limit_s:.0f} s and was ended")
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    return _answer(child.returncode, out, err)


def _answer(code: int, out: bytes, err: bytes) -> Times | Refused | Lost:
    last = err.decode("utf-8", errors="replace").strip().rpartition("\n")[2][:300]
    said = f": {last}" if last else ""
    if code < 0:
        if code == -getattr(signal, "SIGALRM", 0):
            return Lost("hung", "gave no answer and was ended by the system")
        return Lost("crashed", f"its process was ended by {_signal(-code)}{said}")
    if code:
        return Lost("crashed", f"its process ended with exit code {code}{said}")
    try:
        return msgspec.json.decode(out, type=Times | Refused)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Lost("crashed", f"its process ended without an answer{said}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
