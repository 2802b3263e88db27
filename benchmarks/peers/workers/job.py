"""What every candidate's process shares: its orders, the cadence, and what it reports.

Runs in the candidate's own environment: standard library, OpenCV and NumPy only.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2


class Job:
    """The orders of one process, from the JSON file that is its first argument.

    Attributes:
        scenario: `saturated`, `paced`, `overload`, `idle` or `cold`.
        clip: Video file.
        live: Frames are due at `fps`, and only the newest counts; otherwise every frame of the file is wanted.
        fps: Cadence of a live run, in frames per second.
        frames: How many to play; the clip has at least as many.
        model: `.tflite` file, `(1, H, W, 3) uint8` RGB in, `(1, K)` scores out.
        bundle: The same file as a bundle.
        threads: Of the engine.
        labels: Of the classes.
        engine: Of bedside; None for the others.
    """

    def __init__(self, path: str, spawned: str) -> None:
        plain: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        self.scenario: str = plain["scenario"]
        self.clip: str = plain["clip"]
        self.live: bool = plain["live"]
        self.fps: float = plain["fps"]
        self.frames: int = plain["frames"]
        self.model: str = plain["model"]
        self.bundle: str = plain["bundle"]
        self.threads: int = plain["threads"]
        self.labels: list[str] = plain["labels"]
        self.engine: str | None = plain["engine"]
        self._packages: list[str] = plain["packages"]
        self._report = Path(plain["report"])
        self._spawned_ns = int(spawned)

    def open_clip(self) -> cv2.VideoCapture:
        """The clip, opened by OpenCV's FFmpeg, as every candidate but bedside does it."""
        capture = cv2.VideoCapture(self.clip, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            sys.exit(f"OpenCV cannot open {self.clip}")
        return capture

    def turns(self) -> Iterator[tuple[int, int]]:
        """Number and due time (monotonic, ns) of every frame; sleeps until it is due where the run is live.

        Frame `i` is due at `t0 + i / fps` from the first turn on. A candidate that is late gets its next turn
        at once: nothing is skipped here, what is too much is the candidate's to drop.
        """
        begin = time.monotonic_ns()
        for seq in range(self.frames):
            if not self.live:
                yield seq, time.monotonic_ns()
                continue
            due = begin + round(seq * 1e9 / self.fps)
            wait = due - time.monotonic_ns()
            if wait > 0:
                time.sleep(wait / 1e9)
            yield seq, due

    def write(self, recorder: Recorder) -> None:
        """Write the report whole or not at all."""
        versions = {name: metadata.version(name) for name in self._packages}
        versions["python"] = sys.version.split()[0]
        report = {**recorder.plain(), "spawned_ns": self._spawned_ns, "versions": versions}
        partial = self._report.with_suffix(".part")
        partial.write_text(json.dumps(report), encoding="utf-8")
        partial.replace(self._report)


class Recorder:
    """Results as they come into hand. One thread at a time may call `add`."""

    def __init__(self) -> None:
        self._seq, self._due, self._hand, self._top = (array("q") for _ in range(4))
        self._cpu = self._wall = self._peak = 0.0

    def add(self, seq: int, due_ns: int, top: int) -> None:
        """A result is in hand.

        Args:
            seq: Number of its frame.
            due_ns: When the frame was due.
            top: Index of the best class.
        """
        self._hand.append(time.monotonic_ns())
        if not self._seq:
            self._cpu, self._wall = -processor_seconds(), -time.monotonic()
        self._seq.append(seq)
        self._due.append(due_ns)
        self._top.append(top)

    def finish(self) -> None:
        """The last result is in hand: nothing that comes after counts."""
        self._cpu += processor_seconds()
        self._wall += time.monotonic()
        self._peak = peak_bytes()

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        if not self._seq:
            sys.exit("no result at all")
        return {
            "seq": self._seq.tolist(),
            "due_ns": self._due.tolist(),
            "hand_ns": self._hand.tolist(),
            "top": self._top.tolist(),
            "cpu_s": self._cpu,
            "wall_s": self._wall,
            "peak_bytes": int(self._peak),
        }


def processor_seconds() -> float:
    """Of this process and of the children that it has waited for, user and system."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def peak_bytes() -> int:
    """Largest resident size of this program so far.

    `VmHWM` begins anew with `exec`; `ru_maxrss` does not, and would report the parent where that was larger
    (Linux, `fs/exec.c`, `setmax_mm_hiwater_rss`).
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def job() -> Job:
    """The orders of this process: `python WORKER ORDERS.json SPAWNED_NS`."""
    return Job(sys.argv[1], sys.argv[2])
