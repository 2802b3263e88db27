"""Holoscan's Python pipeline on the processor: source, inference (LiteRT) and sink as operators.

Its event-based scheduler runs them side by side. Live, the source does not wait for those behind it, and the queue
before inference is one frame long and gives way to the newest; from a file, Holoscan's defaults hold every frame.
"""

from __future__ import annotations

import ctypes
import site
import warnings
from pathlib import Path
from typing import Any

from classifier import Classifier
from job import Job, Recorder, job

# The wheel is linked to CUDA's runtime, also where no graphics processor is; pip puts it where no linker looks.
for _folder in site.getsitepackages():
    for _library in Path(_folder).glob("nvidia/cuda_runtime/lib/libcudart.so.12"):
        ctypes.CDLL(str(_library), ctypes.RTLD_GLOBAL)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from holoscan.core import Application, ConditionType, IOSpec, Operator, OperatorSpec
    from holoscan.schedulers import EventBasedScheduler

#: One each for the three operators.
WORKERS = 3


class SourceOp(Operator):  # type: ignore[misc]
    """Reads a frame when it is due."""

    def __init__(self, fragment: Any, *args: Any, orders: Job, **options: Any) -> None:
        self._live = orders.live
        self._capture = orders.open_clip()
        self._turns = orders.turns()
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        port = spec.output("frame")
        if self._live:
            port.condition(ConditionType.NONE)

    def compute(self, _inputs: Any, outputs: Any, _context: Any) -> None:
        turn = next(self._turns, None)
        got, frame = self._capture.read() if turn is not None else (False, None)
        if turn is None or not got:
            self.stop_execution()
            return
        outputs.emit((*turn, frame), "frame")


class InferenceOp(Operator):  # type: ignore[misc]
    """Resizes and invokes."""

    def __init__(self, fragment: Any, *args: Any, orders: Job, **options: Any) -> None:
        self._live = orders.live
        self._classify = Classifier(orders.model, orders.threads)
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        if self._live:
            spec.input("frame", policy=IOSpec.QueuePolicy.POP)
        else:
            spec.input("frame")
        spec.output("answer")

    def compute(self, inputs: Any, outputs: Any, _context: Any) -> None:
        seq, due, frame = inputs.receive("frame")
        outputs.emit((seq, due, self._classify(frame)), "answer")


class SinkOp(Operator):  # type: ignore[misc]
    """Has the result in hand."""

    def __init__(self, fragment: Any, *args: Any, recorder: Recorder, **options: Any) -> None:
        self._recorder = recorder
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("answer")

    def compute(self, inputs: Any, _outputs: Any, _context: Any) -> None:
        self._recorder.add(*inputs.receive("answer"))


class Pipeline(Application):  # type: ignore[misc]
    """Source, inference, sink."""

    def __init__(self, orders: Job, recorder: Recorder) -> None:
        self._orders, self._recorder = orders, recorder
        super().__init__()

    def compose(self) -> None:
        source = SourceOp(self, name="source", orders=self._orders)
        inference = InferenceOp(self, name="inference", orders=self._orders)
        sink = SinkOp(self, name="sink", recorder=self._recorder)
        self.add_flow(source, inference)
        self.add_flow(inference, sink)


def main() -> None:
    orders, recorder = job(), Recorder()
    application = Pipeline(orders, recorder)
    application.scheduler(EventBasedScheduler(application, worker_thread_number=WORKERS, name="scheduler"))
    application.run()
    recorder.finish()
    orders.write(recorder)


if __name__ == "__main__":
    main()
