"""Goldens: known answers, replayed on every session that is compiled, before it shows a single result.

At two levels. Engine: stored input samples go in, the stored outputs have to come out, within the variant's
tolerance. Frame: stored captured frames go through this host's preprocess, which has to make the stored
sample of them within `pixel_tolerance` codes; the engine's answer to what preprocess made has to be the
sample's; and it has to decode.

OpenCV versions differ by a code here and there. Where preprocess gives the stored sample exactly, the answer
is held to the variant's tolerance; where it differs within `pixel_tolerance`, to the schema's cap
(`MAX_TOLERANCE`): the engine was measured exactly at the first level, and the answer to a slightly different
picture is a different answer.

The error of an output is `max|a - b| / max|b|`. There `max|b|` counts as at least `STEPS` quantization steps: an
engine may round a tie either way, and where every golden answer lies near 0, as whitened codes do, one step is no
sign of a wrong answer. Where an output holds classes or counts, such as a map of the best class per pixel, a
difference of codes says nothing, and a pixel on the border of two classes may fall either way: there the error is
the fraction of elements that differ, held to the same tolerance (`label_outputs`).

A model without golden frames, such as one that draws pictures from latents, has its answers to the engine's samples
decoded instead.

Maps and pictures (more than `LARGE` numbers) are held to the 99th percentile of their differences instead of the
largest.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from bedside.runtime.bundle.decode import Decode, SegmentationDecode
from bedside.runtime.bundle.manifest import (
    MAX_TOLERANCE,
    FrameGolden,
    InputSpec,
    Model,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.protocol import Array, Session
from bedside.runtime.errors import BundleError, FrameError
from bedside.runtime.geometry import Fit, Rect, fit
from bedside.runtime.latent import make_preprocess
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.tasks import NotFiniteError, TaskDecoder, View, dequantize, make_task

#: One quantization step is an error of at most 1 / STEPS, which is what int8 is allowed at least.
STEPS = 20


#: Outputs with more numbers than this are maps and pictures. Their quantized answers are stored as codes, a
#: quarter of the size, and judged by a percentile of their differences.
LARGE = 1 << 14
#: That percentile. At the edges of regions int8 engines differ by half the range in single pixels: OpenVINO
#: against LiteRT on the polyp segmenter 0.48 at most, 0.07 at this percentile, with the same Dice (0.889 and
#: 0.888).
DENSE = 0.99


class GoldenReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a session did on its goldens.

    Attributes:
        engine: That ran.
        variant: That ran.
        tolerance: Largest relative error that the manifest allows.
        samples: Golden samples at the engine's input.
        error: Largest relative error over samples and outputs; infinite where an output was not finite.
        errors: The same per output.
        frames: Golden captured frames.
        pixels: Largest difference between preprocess here and the stored sample, in input codes; None without
            frames.
        frame_error: Largest relative error of answers to golden frames; None without frames.
        reason: What failed first; None when everything held.
    """

    engine: str
    variant: str
    tolerance: float
    samples: int
    error: float
    errors: tuple[float, ...]
    frames: int = 0
    pixels: float | None = None
    frame_error: float | None = None
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the session may be used."""
        return self.reason is None


def relative_error(got: Array, expected: Array, scale: float | None = None) -> float:
    """`max|got - expected| / max|expected|`.

    Args:
        got: Any shape.
        expected: The same shape.
        scale: Stands in for `max|expected|`, for a part of a larger array.

    Returns:
        The error; the absolute one where everything expected is 0; infinity where a value is not finite.

    Raises:
        ValueError: The shapes differ.
    """
    if got.shape != expected.shape:
        raise ValueError(f"shapes differ: {list(got.shape)} and {list(expected.shape)}")
    difference = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
    if scale is None:
        scale = float(np.abs(expected).max(initial=0.0))
    if not math.isfinite(difference) or not math.isfinite(scale):
        return math.inf
    return difference / scale if scale > 0 else difference


def output_error(got: Array, expected: Array, *, labels: bool, scale: float | None = None) -> float:
    """The error of one output, as the module says.

    Args:
        got: Dequantized, any shape.
        expected: The same shape.
        labels: Whether the output holds classes, see `label_outputs`.
        scale: See `relative_error`.

    Raises:
        ValueError: The shapes differ.
    """
    if not labels:
        if expected.size > LARGE and got.shape == expected.shape:
            return _dense_error(got, expected, scale)
        return relative_error(got, expected, scale)
    if got.shape != expected.shape:
        raise ValueError(f"shapes differ: {list(got.shape)} and {list(expected.shape)}")
    return float(np.count_nonzero(got != expected)) / max(1, expected.size)


def _dense_error(got: Array, expected: Array, scale: float | None) -> float:
    """As `relative_error`, with the 99th percentile of the differences in place of the largest."""
    difference = np.abs(got.astype(np.float32) - expected).reshape(-1)
    if not np.isfinite(difference).all():
        return math.inf
    place = int(DENSE * (difference.size - 1))
    high = float(np.partition(difference, place)[place])
    if scale is None:
        scale = float(np.abs(expected).max(initial=0.0))
    return high / scale if scale > 0 else high


def output_scale(expected: Array, spec: TensorSpec) -> float:
    """What an output's differences are measured against, see the module.

    Args:
        expected: Of all samples, dequantized.
        spec: Of the output.
    """
    largest = float(np.abs(expected).max(initial=0.0))
    return largest if spec.quantization is None else max(largest, STEPS * spec.quantization.scale)


def label_outputs(decode: Decode, specs: tuple[TensorSpec, ...]) -> tuple[bool, ...]:
    """Which outputs hold classes or counts: integers that stand for no real values.

    Small integers without a quantization may also be pixels; those are classes only where `decode` says so.
    """
    named = decode.output if isinstance(decode, SegmentationDecode) and decode.scores == "labels" else None
    return tuple(
        spec.quantization is None and (spec.dtype in ("int32", "int64", "bool") or k == named)
        for k, spec in enumerate(specs)
    )


def stored(expected: Array, spec: TensorSpec) -> Array:
    """What goes into a bundle: real values, or the codes of a large quantized output.

    Args:
        expected: Of all samples, dequantized.
        spec: Of the output.
    """
    quantization = spec.quantization
    if quantization is None or expected[0].size <= LARGE or not np.issubdtype(spec.dtype, np.integer):
        return expected
    codes: Array = np.rint(expected / quantization.scale + quantization.zero_point)
    return codes.astype(spec.dtype)


def restored(array: Array, spec: TensorSpec) -> Array:
    """Real values of what `stored` gave."""
    return array if array.dtype == np.float32 else dequantize(array, spec)


def pixel_difference(got: Array, expected: Array, spec: InputSpec) -> float:
    """Largest difference of two input tensors in codes: of the tensor, or of pixels where it is floating
    point.

    Args:
        got: Tensor, with or without batch.
        expected: The same shape.
        spec: Of the input; its normalization says how large a pixel step is.
    """
    difference = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
    if got.dtype.kind == "f" and spec.normalization is not None:
        difference *= max(spec.normalization.std)
    return difference if math.isfinite(difference) else math.inf


def replay(session: Session, bundle: Bundle, *, role: str, variant: Variant) -> GoldenReport:
    """Replay the goldens of a variant.

    Args:
        session: Compiled from the variant; stays open.
        bundle: Holds the goldens.
        role: Of the model in the bundle.
        variant: Of the model.

    Returns:
        The report; failing is its `reason`, not an exception.

    Raises:
        BundleError: The goldens do not fit the model.
        EngineError: The engine failed while it ran.
    """
    model = next(m for name, m in bundle.manifest.models.items() if name == role)
    answers = next(g for g in model.golden.variants if g.variant == variant.id)
    replayed = _Replay(session, bundle, model, variant, answers)
    errors = replayed.engine_level()
    worst = max(errors)
    reason = None
    if not worst <= answers.tolerance:
        name = model.outputs[errors.index(worst)]
        reason = f"the output {name!r} is off by {worst:.3g}, allowed is {answers.tolerance:.3g}"
    elif not model.golden.frames:
        reason = replayed.decodes()
    report = GoldenReport(
        engine=session.engine,
        variant=variant.id,
        tolerance=answers.tolerance,
        samples=len(replayed.samples),
        error=worst,
        errors=errors,
        reason=reason,
    )
    return replayed.frame_level(report) if reason is None and model.golden.frames else report


class _Replay:
    """One variant's goldens, loaded."""

    def __init__(
        self, session: Session, bundle: Bundle, model: Model, variant: Variant, answers: VariantGolden
    ) -> None:
        self._session = session
        self._bundle = bundle
        self._model = model
        self._variant = variant
        self._tolerance = answers.tolerance
        entry = model.golden.engine.input
        self.samples = bundle.array(entry)
        _check_array(entry.file, self.samples, (None, *model.input.shape[1:]), model.input.dtype)
        count = len(self.samples)
        self._expected = []
        for ref, spec in zip(answers.outputs, variant.outputs, strict=True):
            array = bundle.array(ref)
            kind = spec.dtype if array.dtype != np.float32 and spec.quantization else "float32"
            _check_array(ref.file, array, (count, *spec.shape[1:]), kind)
            self._expected.append(restored(array, spec))
        self._labels = label_outputs(model.decode, variant.outputs)
        # Of all samples: an output that is close to 0 on one of them is not judged by its own smallness.
        self._scales = [
            output_scale(array, spec) for array, spec in zip(self._expected, variant.outputs, strict=True)
        ]

    def engine_level(self) -> tuple[float, ...]:
        """Largest relative error per output over all samples."""
        worst = [0.0] * len(self._expected)
        for k, sample in enumerate(self.samples):
            self._session.input()[0] = sample
            worst = [max(pair) for pair in zip(worst, self._errors(self._session.invoke(), k), strict=True)]
        return tuple(worst)

    def decodes(self) -> str | None:
        """Decode the answer to one sample, for a model without golden frames; why it cannot be, or None."""
        spec = self._model.input
        where = fit(Rect(0, 0, spec.width, spec.height), spec.width, spec.height, "stretch")
        self._session.input()[0] = self.samples[0]
        return self._decode(make_task(self._model.decode), self._session.invoke(), self.samples[:1], where)

    def frame_level(self, report: GoldenReport) -> GoldenReport:
        """Add the golden frames to a report."""
        preprocess = make_preprocess(self._model.input)
        task = make_task(self._model.decode)
        pixels = error = 0.0
        reason = None
        for golden in self._model.golden.frames:
            differs, answered, reason = self._frame(golden, preprocess, task)
            pixels, error = max(pixels, differs), max(error, answered)
            if reason is not None:
                break
        return msgspec.structs.replace(
            report, frames=len(self._model.golden.frames), pixels=pixels, frame_error=error, reason=reason
        )

    def _frame(
        self, golden: FrameGolden, preprocess: Preprocess, task: TaskDecoder
    ) -> tuple[float, float, str | None]:
        if golden.sample >= len(self.samples):
            raise BundleError(
                f"golden sample {golden.sample} of {len(self.samples)}", where=golden.frame.file
            )
        name = golden.frame.file
        tensor = self._session.input()
        try:
            where = preprocess(self._bundle.array(golden.frame), golden.color, tensor)
        except FrameError as error:
            raise BundleError(error.what, where=name) from None
        differs = pixel_difference(tensor[0], self.samples[golden.sample], self._model.input)
        pixels = (
            tensor.copy() if task.needs_input else None
        )  # engines overwrite it, and move it when they run
        del tensor
        if differs > self._model.golden.pixel_tolerance:
            allowed = self._model.golden.pixel_tolerance
            return differs, 0.0, f"preprocess of {name} is off by {differs:g} codes, allowed is {allowed}"
        outputs = self._session.invoke()
        answered = max(self._errors(outputs, golden.sample))
        tolerance = self._tolerance if differs == 0 else MAX_TOLERANCE
        if not answered <= tolerance:
            return (
                differs,
                answered,
                f"the answer to {name} is off by {answered:.3g}, allowed is {tolerance:.3g}",
            )
        return differs, answered, self._decode(task, outputs, pixels, where)

    def _decode(
        self, task: TaskDecoder, outputs: tuple[Array, ...], pixels: Array | None, where: Fit
    ) -> str | None:
        """Decode an answer; why it cannot be, or None."""
        try:
            task.decode(outputs, self._variant.outputs, View(where, pixels=pixels))
        except NotFiniteError as error:
            return error.what
        return None

    def _errors(self, outputs: tuple[Array, ...], sample: int) -> list[float]:
        """Relative error per output of the answer to one sample."""
        specs: tuple[TensorSpec, ...] = self._variant.outputs
        return [
            output_error(dequantize(output, spec)[0], expected[sample], labels=labels, scale=scale)
            for output, spec, expected, labels, scale in zip(
                outputs, specs, self._expected, self._labels, self._scales, strict=True
            )
        ]


def _check_array(name: str, array: Array, shape: tuple[int | None, ...], dtype: str) -> None:
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(dtype) or not array.size:
        wanted = ["N" if d is None else d for d in shape]
        raise BundleError(
            f"is {list(array.shape)} {array.dtype}, the model needs {wanted} {dtype}", where=name
        )
