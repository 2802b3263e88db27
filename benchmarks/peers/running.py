"""One measurement: a candidate's process with its orders, its report, and an end where it hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from records import Candidate, Run, Scenario

WORKERS = Path(__file__).parent / "workers"

#: Nothing of the caller's may reach a candidate: not its modules, not its settings of threads.
_UNWANTED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is given; see `workers/job.py`."""

    scenario: Scenario
    clip: str
    live: bool
    fps: float
    frames: int
    model: str
    bundle: str
    threads: int
    labels: tuple[str, ...]
    engine: str | None
    packages: tuple[str, ...]
    report: str


class MeasureError(Exception):
    """A candidate gave no measurement; says why in one line."""


def measure(
    candidate: Candidate, python: Path, orders: Orders, timeout_s: float, workers: Path = WORKERS
) -> Run:
    """Run a candidate once.

    Args:
        candidate: Which.
        python: Of its environment.
        orders: What it has to do; beside the report lie its orders and what it printed.
        timeout_s: After which its whole process group is killed.
        workers: Where its script is.

    Raises:
        MeasureError: It failed, hung, or reported nothing that can be read.
    """
    report = Path(orders.report)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    written = report.with_suffix(".orders")
    written.write_bytes(msgspec.json.encode(orders))
    worker = workers / f"{candidate.worker}.py"
    environment = {key: value for key, value in os.environ.items() if key not in _UNWANTED}
    log = report.with_suffix(".log")
    with log.open("wb") as output:
        spawned_ns = time.monotonic_ns()
        process = subprocess.Popen(
            [str(python), str(worker), str(written), str(spawned_ns)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_stack(candidate.stack),
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MeasureError(f"no end after {timeout_s:.0f} s") from None
        finally:
            # Whatever it left behind would disturb the next one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        raise MeasureError(f"exit code {code}: {_last_line(log)}")
    try:
        run = msgspec.json.decode(report.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        raise MeasureError(f"no report: {error}") from None
    if not len(run.seq) == len(run.due_ns) == len(run.hand_ns) == len(run.top) > 0:
        raise MeasureError("a report without results")
    return run


def _stack(size: int | None) -> Callable[[], None] | None:
    """Sets the soft limit of the stack before the program starts, where it may."""
    if size is None:
        return None
    import resource

    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    soft = size if hard == resource.RLIM_INFINITY else min(size, hard)
    return lambda: resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line]
    return said[-1][:300] if said else "it says nothing"
