"""The loops that bedside is held against: bare, plain, and with two threads, as an engineer writes them by hand.

All run the same session on the same clip, resize by the same OpenCV call, and copy into the engine's own input.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np

from bedside.devices.compose import boot_id
from bedside.devices.sources import Looped, Paced
from bedside.devices.sources.video import VideoSource
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.result import Outcome, Result
from bedside.runtime.stream.ledger import LedgerSnapshot
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity, StreamLimits
from bedside.runtime.tasks import make_task

#: Frames in which caches and clocks warm up; they are in no percentile.
SETTLE = 30


class Run(NamedTuple):
    """One run.

    Attributes:
        ages_ms: Of every result, from when its frame was due; empty where nothing is paced.
        frames: Results.
        dropped: Frames without one.
        wall_s: From the first result to the last.
        cpu_s: Processor time of all threads, from the first result to the last.
        ledger: Of a pipeline.
    """

    ages_ms: Any
    frames: int
    dropped: int
    wall_s: float
    cpu_s: float
    ledger: LedgerSnapshot | None = None

    @property
    def per_second(self) -> float:
        """Throughput."""
        return (self.frames - 1) / self.wall_s if self.wall_s > 0 else float("nan")

    @property
    def cpu_us(self) -> float:
        """Processor time per frame."""
        return 1e6 * self.cpu_s / max(1, self.frames - 1)

    def age(self, percent: float) -> float:
        """A percentile of the ages in ms, of the sample: both sides are judged alike."""
        return float(np.percentile(self.ages_ms[min(SETTLE, len(self.ages_ms) // 4) :], percent))


class Repeated:
    """A session that does its work several times: a model that is too slow, made of one that is not."""

    def __init__(self, session: Any, times: int) -> None:
        self._session, self._times = session, times
        self.engine, self.options = session.engine, session.options
        self.inputs, self.outputs = session.inputs, session.outputs

    def input(self, index: int = 0) -> Any:
        return self._session.input(index)

    def invoke(self) -> Any:
        for _ in range(self._times):
            outputs = self._session.invoke()
        return outputs

    def close(self) -> None:
        self._session.close()


def linear(loaded: Loaded) -> InputSpec:
    """The model's input with OpenCV's default resize, so that all loops resize by the very same call."""
    return msgspec.structs.replace(loaded.model.input, interpolation="linear")


class _Model:
    """Resize, swap colours into the engine's input, invoke."""

    def __init__(self, loaded: Loaded) -> None:
        self._session = loaded.session
        self._size = (loaded.model.input.width, loaded.model.input.height)
        self._small = np.empty((*self._size[::-1], 3), np.uint8)

    def __call__(self, picture: Any) -> None:
        cv2.resize(picture, self._size, dst=self._small)
        cv2.cvtColor(self._small, cv2.COLOR_BGR2RGB, dst=self._session.input()[0])
        self._session.invoke()


class _Watch:
    """The first result and the last one, on the wall and on the processor: opening and closing count for nobody."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._end = (0.0, 0.0)

    def result(self) -> float:
        """A result is there; when, in s."""
        self._end = (time.monotonic(), time.process_time())
        if self._begin is None:
            self._begin = self._end
        return self._end[0]

    @property
    def wall_s(self) -> float:
        return self._end[0] - self._begin[0] if self._begin is not None else 0.0

    @property
    def cpu_s(self) -> float:
        return self._end[1] - self._begin[1] if self._begin is not None else 0.0


class _Clip:
    """A clip played over and over into one buffer."""

    def __init__(self, clip: str) -> None:
        self._clip = clip
        self._capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG)

    def read(self, into: Any = None) -> Any:
        got, picture = self._capture.read(into)
        if not got:
            self._capture = cv2.VideoCapture(self._clip, cv2.CAP_FFMPEG)
            got, picture = self._capture.read(into)
        return picture


def bare(clip: str, loaded: Loaded, frames: int) -> dict[str, Any]:
    """Decode, resize and invoke, one after the other, without pace: ms of each, per frame."""
    source, session = _Clip(clip), loaded.session
    size = (loaded.model.input.width, loaded.model.input.height)
    small = np.empty((*size[::-1], 3), np.uint8)
    buffer = source.read()
    spent = np.empty((frames, 3))
    cpu = time.process_time()
    for row in spent:
        t0 = time.perf_counter()
        buffer = source.read(buffer)
        t1 = time.perf_counter()
        cv2.resize(buffer, size, dst=small)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=session.input()[0])
        t2 = time.perf_counter()
        session.invoke()
        row[:] = (t1 - t0, t2 - t1, time.perf_counter() - t2)
    cpu = time.process_time() - cpu
    spent *= 1e3
    decode, resize, invoke = spent.T
    return {
        "decode": decode,
        "resize": resize,
        "invoke": invoke,
        "sum": spent.sum(axis=1),
        "cpu_s": cpu / frames,
    }


def plain_loop(clip: str, loaded: Loaded, frames: int, fps: float) -> Run:
    """One thread that works through every frame in turn, however late it is."""
    source, model = _Clip(clip), _Model(loaded)
    buffer, ages, watch = source.read(), [], _Watch()
    begin = time.monotonic()
    for i in range(frames):
        due = begin + i / fps
        time.sleep(max(0.0, due - time.monotonic()))
        buffer = source.read(buffer)
        model(buffer)
        ages.append(1e3 * (watch.result() - due))
    return Run(np.array(ages), frames, 0, watch.wall_s, watch.cpu_s)


def two_threads_paced(clip: str, loaded: Loaded, frames: int, fps: float) -> Run:
    """One thread reads at the cadence, the other one takes the newest frame: what a careful engineer writes."""
    source, model = _Clip(clip), _Model(loaded)
    changed = threading.Condition()
    waiting: list[tuple[float, Any]] = []
    free = [source.read() for _ in range(3)]
    ended, dropped, ages, watch = False, 0, [], _Watch()

    def capture() -> None:
        nonlocal ended, dropped
        begin = time.monotonic()
        for i in range(frames):
            due = begin + i / fps
            time.sleep(max(0.0, due - time.monotonic()))
            with changed:
                buffer = free.pop()
            buffer = source.read(buffer)
            with changed:
                if waiting:
                    free.append(waiting.pop()[1])
                    dropped += 1
                waiting.append((due, buffer))
                changed.notify()
        with changed:
            ended = True
            changed.notify()

    thread = threading.Thread(target=capture)
    thread.start()
    while True:
        with changed:
            while not waiting and not ended:
                changed.wait()
            if not waiting:
                break
            due, picture = waiting.pop()
        model(picture)
        ages.append(1e3 * (watch.result() - due))
        with changed:
            free.append(picture)
    thread.join()
    return Run(np.array(ages), len(ages), dropped, watch.wall_s, watch.cpu_s)


def two_threads_saturated(clip: str, loaded: Loaded, frames: int) -> Run:
    """One thread reads as fast as the other one works; four buffers go around."""
    source, model = _Clip(clip), _Model(loaded)
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    full: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(4):
        free.put(source.read())

    def capture() -> None:
        for _ in range(frames):
            full.put(source.read(free.get()))

    watch = _Watch()
    thread = threading.Thread(target=capture)
    thread.start()
    for _ in range(frames):
        picture = full.get()
        model(picture)
        free.put(picture)
        watch.result()
    thread.join()
    return Run((), frames, 0, watch.wall_s, watch.cpu_s)


def pipeline(clip: str, loaded: Loaded, frames: int, fps: float | None = None) -> Run:
    """The same through bedside: accounted for, stamped, decoded to a result, published."""
    source: Any = Looped(VideoSource(clip))
    if fps is not None:
        source = Paced(source, fps=fps)
    ages, watch = [], _Watch()

    def see(result: Result) -> None:
        if result.outcome is Outcome.OK:
            ages.append(result.age_ms)
            watch.result()

    stream = Pipeline(
        source,
        loaded,
        Preprocessor(linear(loaded)),
        make_task(loaded.model.decode),
        [],
        StreamIdentity(
            session="bench", stream="main", boot=boot_id(), task="classification", bundle="0" * 64
        ),
        limits=StreamLimits(max_frames=frames),
        on_result=see,
    )
    ended = stream.run()
    if ended.error is not None:
        raise ended.error
    assert ended.ledger.balanced and ended.ledger.in_flight == 0
    dropped = ended.ledger.captured - len(ages)
    return Run(np.array(ages), len(ages), dropped, watch.wall_s, watch.cpu_s, ended.ledger)
