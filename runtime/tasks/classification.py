"""Class scores to the best classes."""

from __future__ import annotations

import numpy as np

from bedside.runtime.answers import Classification, HeatMap, PredictionSet, Score, Smoothing
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError, UsageError
from bedside.runtime.tasks.calibration import prediction_set, softmax, temper
from bedside.runtime.tasks.heatmap import over_input
from bedside.runtime.tasks.protocol import Scores, View, check_finite, dequantize

#: Up to here, picking the largest k times is faster than sorting, and ties are decided by position.
_PICK_AT_MOST = 8


class ClassificationDecoder:
    """Top-k classes of a score vector, calibrated where the bundle says how, smoothed over time if asked for.

    Prediction set and map are of the frame alone; the map is that of the class that the result names.

    Smoothing is an exponential moving average over the probabilities, `s = alpha * new + (1 - alpha) * old`,
    starting with the first frame as it is. Every result made with it says so (`Classification.smoothing`).

    Args:
        decode: How the scores are read, from the manifest.
        top_k: Classes per result, at least 1; fewer where there are not as many.
        smoothing: alpha, `0 < alpha <= 1`; None for none.

    Raises:
        UsageError: `top_k` or `smoothing` is out of range.
    """

    needs_input = False

    def __init__(
        self, decode: ClassificationDecode, *, top_k: int = 3, smoothing: float | None = None
    ) -> None:
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}, at least 1 is needed")
        if smoothing is not None and not 0.0 < smoothing <= 1.0:
            raise UsageError(f"smoothing is {smoothing}, it has to be above 0 and at most 1")
        self._labels = decode.labels
        self._output = decode.output
        self._logits = decode.scores == "logits"
        self._temperature = decode.temperature
        self._conformal = decode.conformal
        self._map = decode.map
        self._top_k = min(top_k, len(decode.labels))
        self._alpha = smoothing
        # Made once: a result costs no array.
        self._scores = np.empty(len(decode.labels), np.float32)
        self._picking = np.empty_like(self._scores)
        self._average = np.empty_like(self._scores)
        self._frames = 0

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Classification:
        """The best classes, best first; see `TaskDecoder.decode`."""
        scores = self._read(outputs, specs)
        within = None
        if self._conformal is not None:
            indices = prediction_set(scores, self._conformal.threshold)
            within = PredictionSet(self._conformal.coverage, tuple([self._labels[k] for k in indices]))
        smoothing = None
        if self._alpha is not None:
            scores = self._smooth(scores, self._alpha)
            smoothing = Smoothing("ema", self._alpha, self._frames)
        top = tuple([Score(k, self._labels[k], scores.item(k)) for k in self._best(scores)])
        first = top[0]
        where = None
        if self._map is not None:
            where = self._looked(outputs[self._map], specs[self._map], first.index, view)
        return Classification(
            first.label, first.index, first.score, top, smoothing, self._temperature, within, where
        )

    def probabilities(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Scores:
        """Probabilities of this frame alone, calibrated where the bundle has a temperature.

        Args:
            outputs: Of the session, batch of 1 included, any element type.
            specs: Of the outputs, in the same order.

        Returns:
            A new array, `(K,) float32`.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The outputs are not what the bundle says.
        """
        return self._read(outputs, specs).copy()

    def reset(self) -> None:
        """Forget earlier frames; see `TaskDecoder.reset`."""
        self._frames = 0

    def _read(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Scores:
        """Probabilities of this frame, in the scratch vector. Only the score vector is dequantized."""
        check_finite(outputs, specs)
        raw, spec, scores = outputs[self._output], specs[self._output], self._scores
        if raw.size != scores.size:
            raise EngineError(f"the output {spec.name!r} gives {raw.size} scores for {scores.size} labels")
        scores[:] = raw.reshape(-1)
        if spec.quantization is not None:
            scores -= spec.quantization.zero_point
            scores *= spec.quantization.scale
        if self._map is not None:
            # Before the state changes.
            self._check_map(outputs[self._map], specs[self._map])
        if self._logits:
            return softmax(scores, self._temperature or 1.0)
        return scores if self._temperature is None else temper(scores, self._temperature)

    def _check_map(self, raw: Array, spec: TensorSpec) -> None:
        if raw.ndim != 4 or raw.shape[3] != len(self._labels):
            raise EngineError(
                f"the output {spec.name!r} is {list(raw.shape)}, class activation maps of "
                f"{len(self._labels)} labels are [1, h, w, {len(self._labels)}]"
            )

    def _looked(self, raw: Array, spec: TensorSpec, k: int, view: View) -> HeatMap:
        """The map of one class; the others are not dequantized."""
        return over_input(dequantize(raw[0, :, :, k], spec), view.fit)

    def _smooth(self, scores: Scores, alpha: float) -> Scores:
        if self._frames == 0:
            self._average[:] = scores
        else:
            scores *= alpha
            self._average *= 1.0 - alpha
            self._average += scores
        self._frames += 1
        return self._average

    def _best(self, scores: Scores) -> list[int]:
        """Indices of the largest scores, best first; of equal ones the lower index, on every host."""
        if self._top_k > _PICK_AT_MOST:
            return [int(k) for k in np.argsort(-scores, kind="stable")[: self._top_k]]
        left = self._picking
        left[:] = scores
        best = []
        for _ in range(self._top_k):
            k = int(left.argmax())
            best.append(k)
            left[k] = -np.inf
        return best
