"""Outputs that can be trusted: confidence, prediction sets, and what is foreign to a model; fitted at export,
computed on the device."""

from __future__ import annotations

from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.adopt.whitening import whitened
from bedside.export.data.types import DataSet
from bedside.export.gates.evaluate import keras_rows
from bedside.export.metrics.confidence import (
    conformal_rank,
    expected_calibration_error,
    fit_conformal,
    fit_temperature,
    heated,
    reliability,
)
from bedside.export.recipe import TrustRecipe
from bedside.export.steps import Steps
from bedside.export.tasks.detection import best_threshold
from bedside.export.tasks.pictures import Rebuilt
from bedside.export.tasks.protocol import TaskKit
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Decode,
    DetectionDecode,
    OutOfDistribution,
    ReconstructionDecode,
)
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.errors import GateError

#: Directions of the code along which training frames vary less than this fraction of the widest one are noise:
#: whitening would blow them up.
_SMALLEST_SPREAD = 1e-3
#: Scales of error and distance: what this fraction of validation frames stays below.
_COMMON = 0.95


class Confidence(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration did, for the report.

    Attributes:
        temperature: That was fitted.
        samples: Of the calibration split, as prediction sets state it; 0 where there are no sets.
        before: Expected calibration error on the holdout without it, of the Keras model.
        after: The same with it.
        raw: Reliability diagram without it, as `Marks.reliability`; the one with it is the Keras model's.
        coverage: Of prediction sets on the holdout; None where there are no sets.
        wanted: Coverage that was asked for.
        set_size: Mean number of classes in a set on the holdout.
    """

    temperature: float
    samples: int
    before: float
    after: float
    raw: tuple[tuple[float, float, float, int], ...] = ()
    coverage: float | None = None
    wanted: float | None = None
    set_size: float | None = None


class Trusted(msgspec.Struct, frozen=True):
    """A model with what was fitted beside it.

    Attributes:
        model: Its graphs; a code is whitened.
        decode: With temperature, sets or thresholds.
        notes: What a reader must know.
    """

    model: PixelModel
    decode: Decode
    notes: tuple[str, ...] = ()


def trust(
    model: PixelModel,
    kit: TaskKit,
    decode: Decode,
    spec: InputSpec,
    data: DataSet,
    wanted: TrustRecipe,
    threshold: float | None,
    steps: Steps,
) -> Trusted:
    """Fit what the task can be fitted with; nothing here sees the holdout but the threshold of an autoencoder,
    whose false alarms are stated on it.

    Args:
        model: As adopted.
        kit: Of the task.
        decode: As adopted.
        spec: Of the input.
        data: All splits.
        wanted: `[trust]`.
        threshold: Score below which a detector's boxes are left out; None: chosen on the validation split.
        steps: Who watches.

    Raises:
        GateError: Keras gives NaN or Inf.
        RecipeError: Items cannot be read.
    """
    match decode:
        case ClassificationDecode():
            return _confidence(model, kit, decode, spec, data, wanted, steps)
        case ReconstructionDecode():
            return _foreign(model, kit, decode, spec, data, wanted, steps)
        case DetectionDecode():
            return _threshold(model, kit, decode, spec, data, threshold, steps)
        case _:
            return Trusted(model, decode)


def measured_confidence(
    decode: Decode, scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]
) -> Confidence | None:
    """What calibration does on the holdout.

    Args:
        decode: With temperature and sets.
        scores: `(N, K)` calibrated probabilities of the Keras model.
        truth: `(N,)`.

    Returns:
        None where nothing was calibrated.
    """
    if not isinstance(decode, ClassificationDecode) or decode.temperature is None:
        return None
    # The inverse of softmax(log p / T) is softmax(log p * T).
    raw = heated(scores, 1.0 / decode.temperature)
    right = scores.argmax(axis=1) == truth
    found = Confidence(
        temperature=decode.temperature,
        samples=0 if decode.conformal is None else decode.conformal.samples,
        before=expected_calibration_error(raw.max(axis=1), right),
        after=expected_calibration_error(scores.max(axis=1), right),
        raw=reliability(raw.max(axis=1), right),
    )
    if decode.conformal is None:
        return found
    sets = scores >= np.float32(decode.conformal.threshold)
    sets[np.arange(len(sets)), scores.argmax(axis=1)] = True
    return msgspec.structs.replace(
        found,
        coverage=float(sets[np.arange(len(truth)), truth].mean()),
        wanted=decode.conformal.coverage,
        set_size=float(sets.sum(axis=1).mean()),
    )


def _confidence(
    model: PixelModel,
    kit: TaskKit,
    decode: ClassificationDecode,
    spec: InputSpec,
    data: DataSet,
    wanted: TrustRecipe,
    steps: Steps,
) -> Trusted:
    if not data.calibration.items:
        note = "confidence is not calibrated: the data has no calibration split (data.calibration = 0.15 makes one)"
        return Trusted(model, decode, (note,))
    if not wanted.temperature and wanted.coverage is None:
        return Trusted(model, decode)
    with steps.step("calibrate confidence") as progress:
        samples = kit.read(data.calibration, spec, progress)
        rows, _ = keras_rows(model, kit, decode, spec, samples)
    scores, truth = np.stack(rows), np.asarray(samples.truth, np.int64)
    # Prediction sets need no calibrated scores, but a temperature has to be stated for them.
    temperature = fit_temperature(scores, truth) if wanted.temperature else 1.0
    conformal = None
    notes: tuple[str, ...] = ()
    if wanted.coverage is not None:
        conformal = fit_conformal(heated(scores, temperature), truth, wanted.coverage)
        if conformal is None:
            notes = (
                f"{len(truth)} calibration frames are too few for prediction sets with a coverage of "
                f"{wanted.coverage:g}",
            )
    fitted = msgspec.structs.replace(decode, temperature=temperature, conformal=conformal)
    return Trusted(model, fitted, notes)


def _foreign(
    model: PixelModel,
    kit: TaskKit,
    decode: ReconstructionDecode,
    spec: InputSpec,
    data: DataSet,
    wanted: TrustRecipe,
    steps: Steps,
) -> Trusted:
    notes: tuple[str, ...] = ()
    with steps.step("fit the distance of codes") as progress:
        if decode.code is not None:
            frames = kit.read(data.train, spec, progress).inputs
            codes = model.predict(frames)[decode.code].astype(np.float64)
            mean, matrix = whitening(codes)
            model = whitened(model, mean, matrix)
        else:
            notes = ("the autoencoder gives no code: frames that reconstruct well cannot be told apart",)
        validation = kit.read(data.validation, spec, progress)
        rows, _ = keras_rows(model, kit, decode, spec, validation)
        scales = msgspec.structs.replace(
            decode,
            out=OutOfDistribution(
                error_scale=_scale([r.error for r in rows]),
                distance_scale=None if decode.code is None else _scale([r.distance or 0.0 for r in rows]),
                threshold=1.0,
                false_alarm=wanted.false_alarm,
                samples=1,
            ),
        )
        holdout = kit.read(data.holdout, spec, progress)
        scores = [cast(Rebuilt, r).score for r in keras_rows(model, kit, scales, spec, holdout)[0]]
    assert scales.out is not None
    threshold, alarm = quantile_threshold(np.array(scores), wanted.false_alarm)
    if alarm > wanted.false_alarm:
        notes = (
            *notes,
            f"{len(scores)} holdout frames carry a false-alarm rate of {alarm:.2%} at best; "
            f"{wanted.false_alarm:.2%} was asked for",
        )
    out = msgspec.structs.replace(scales.out, threshold=threshold, false_alarm=alarm, samples=len(scores))
    return Trusted(model, msgspec.structs.replace(decode, out=out), notes)


def _threshold(
    model: PixelModel,
    kit: TaskKit,
    decode: DetectionDecode,
    spec: InputSpec,
    data: DataSet,
    threshold: float | None,
    steps: Steps,
) -> Trusted:
    if threshold is not None:
        return Trusted(model, msgspec.structs.replace(decode, threshold=threshold))
    with steps.step("choose the score threshold") as progress:
        samples = kit.read(data.validation, spec, progress)
        rows, _ = keras_rows(model, kit, decode, spec, samples)
    best = best_threshold(rows, samples, len(kit.labels))
    note = f"boxes are shown from a score of {best:g} on: the best F1 on the validation split"
    return Trusted(model, msgspec.structs.replace(decode, threshold=best), (note,))


def whitening(codes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and matrix that make codes uncorrelated with unit variance (PCA whitening).

    Args:
        codes: `(N, D)` of training frames.

    Returns:
        `(D,)` and `(D, d)`, d the directions that carry variance.

    Raises:
        GateError: The code is the same for every frame.
    """
    mean = codes.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(codes, rowvar=False).reshape(codes.shape[1], codes.shape[1]))
    keep = values > max(values.max() * _SMALLEST_SPREAD, 0.0)
    if not keep.any():
        raise GateError(
            "the code of the autoencoder is the same for every frame",
            where="trust",
            hint="train longer, or with a lower learning rate",
        )
    return mean, vectors[:, keep] / np.sqrt(values[keep])


def quantile_threshold(scores: npt.NDArray[np.float64], false_alarm: float) -> tuple[float, float]:
    """A threshold that new frames of the same kind exceed with at most this probability, and that probability.

    With n scores it is the `ceil((n + 1) * (1 - rate))`-th smallest (the conformal quantile: exact for
    exchangeable frames); with too few of them the largest, and `1 / (n + 1)`.
    """
    n = len(scores)
    rank = conformal_rank(n, 1.0 - false_alarm)
    if rank > n:
        return float(np.max(scores)), 1.0 / (n + 1)
    return float(np.sort(scores)[rank - 1]), false_alarm


def _scale(values: list[float]) -> float:
    return max(1e-6, float(np.quantile(values, _COMMON)))
