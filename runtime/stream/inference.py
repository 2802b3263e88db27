"""One frame, from pixels to an answer: preprocess, guard, invoke, decode."""

from __future__ import annotations

import msgspec
import numpy as np

from bedside.runtime.answers import TaskResult
from bedside.runtime.clock import Clock
from bedside.runtime.engines.protocol import Array
from bedside.runtime.frame import Frame
from bedside.runtime.geometry import Fit
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.result import GuardScore, Withheld
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.trace import Trace
from bedside.runtime.tasks import NotFiniteError, TaskDecoder, View

Spacing = tuple[float, float]


class Answer(msgspec.Struct, frozen=True):
    """What came of one frame.

    Attributes:
        result: What the model says; None where it is withheld.
        reason: Why it is withheld.
        guard: What the guard says, where there is one.
        spent_ns: Durations of `Inference.stages`, in order; empty where a stage did not run to its end.
    """

    result: TaskResult | None
    reason: Withheld | None = None
    guard: GuardScore | None = None
    spent_ns: tuple[int, ...] = ()


class Inference:
    """The model of a bundle with all that stands around it. One thread owns it.

    The guard looks when the main model's input is there and before the model runs: beyond its threshold the
    model is not invoked at all, and temporal smoothing begins anew.

    Args:
        loaded: A session whose goldens were replayed; stays the caller's.
        preprocess: For the session's input.
        task: Decodes the session's outputs.
        clock: For the durations.
        guard: Where the bundle has one.
        enforce: False only to measure: the model runs whatever the guard says.
        trace: Records when each stage began and ended.

    Attributes:
        stages: Names of what is timed: `preprocess`, `guard` where there is one, `invoke`, `decode`.
    """

    def __init__(
        self,
        loaded: Loaded,
        preprocess: Preprocess,
        task: TaskDecoder,
        clock: Clock,
        *,
        guard: Guard | None = None,
        enforce: bool = True,
        trace: Trace | None = None,
    ) -> None:
        self.stages: tuple[str, ...] = ("preprocess", "invoke", "decode")
        if guard is not None:
            self.stages = ("preprocess", "guard", "invoke", "decode")
        self._session = loaded.session
        self._specs = loaded.variant.outputs
        self._preprocess = preprocess
        self._color = loaded.model.input.color
        self._task = task
        self._clock = clock
        self._guard = guard
        self._enforce = enforce
        self._trace = trace
        # Engines may overwrite their input.
        self._seen: Array | None = None
        if task.needs_input:
            self._seen = np.empty(loaded.model.input.shape, loaded.model.input.dtype)
        self._view: View | None = None

    def __call__(self, frame: Frame) -> Answer:
        """Work on one frame.

        Raises:
            FrameError: The frame does not fit the model or the region of interest.
            EngineError: An engine failed, or its outputs are not what the bundle says.
        """
        now = self._clock.now_ns
        started = now()
        fit = self._preprocess(frame.pixels, frame.color, self._session.input())
        if self._seen is not None:
            np.copyto(self._seen, self._session.input())
        prepared = now()
        score: GuardScore | None = None
        try:
            guarded = prepared
            if self._guard is not None:
                score = self._look(self._guard, frame)
                guarded = now()
                if self._enforce and score.score > score.threshold:
                    # What was seen before the camera went elsewhere must not be averaged into what comes after.
                    self._task.reset()
                    if self._trace is not None:
                        self._trace.stages(frame.seq, self.stages, started, prepared, guarded)
                    return Answer(None, Withheld.OUT_OF_DISTRIBUTION, score)
            outputs = self._session.invoke()
            invoked = now()
            result = self._task.decode(outputs, self._specs, self._view_of(frame, fit))
            decoded = now()
        except NotFiniteError:
            return Answer(None, Withheld.NOT_FINITE, score)
        if self._guard is None:
            if self._trace is not None:
                self._trace.stages(frame.seq, self.stages, started, prepared, invoked, decoded)
            return Answer(result, None, None, (prepared - started, invoked - prepared, decoded - invoked))
        if self._trace is not None:
            self._trace.stages(frame.seq, self.stages, started, prepared, guarded, invoked, decoded)
        spent = (prepared - started, guarded - prepared, invoked - guarded, decoded - invoked)
        return Answer(result, None, score, spent)

    def _look(self, guard: Guard, frame: Frame) -> GuardScore:
        if guard.sees == "input":
            return guard.look(self._session.input()[0], self._color)
        return guard.look(frame.pixels, frame.color)

    def _view_of(self, frame: Frame, fit: Fit) -> View:
        """The same object from frame to frame, as long as the geometry is the same."""
        spacing = spacing_of(frame, fit)
        view = self._view
        if view is None or view.fit is not fit or view.spacing_mm != spacing:
            view = self._view = View(fit, spacing, self._seen)
        return view


def spacing_of(frame: Frame, fit: Fit) -> Spacing | None:
    """Millimetres per row and per column step of what the model sees.

    That of the whole picture, else that of the one calibrated region that holds all of it; None where lengths
    would mix regions.
    """
    if frame.spacing_mm is not None or not frame.regions:
        return frame.spacing_mm
    crop = fit.crop
    for region in frame.regions:
        rect = region.rect
        if rect.x <= crop.x and rect.y <= crop.y and rect.x1 >= crop.x1 and rect.y1 >= crop.y1:
            return region.spacing_mm
    return None
