"""`bundle.json`, format version 1: the schema. The rules that a schema cannot say are in `rules`.

Spelling follows MONAI bundle metadata where a field means the same (`version`, `description`, `intended_use`,
`data_source`, `eval_metrics`, `authors`, `copyright`, `changelog`). Unknown keys are refused; a bundle
that uses a newer key therefore names a newer `min_runtime`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.fields import (
    Dimension,
    Fraction,
    Line,
    Name,
    Positive,
    Sha256,
    Strict,
    Text,
    Version,
)

FORMAT_VERSION = 1

#: A golden tolerance may not exceed this: a wider one would let a collapsed variant through.
MAX_TOLERANCE = 0.1

Task = Literal[
    "classification", "segmentation", "detection", "reconstruction", "translation", "generation", "embedding"
]
DType = Literal["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "bool"]
Format = Literal["tflite", "onnx"]
Precision = Literal["fp32", "fp16", "bf16", "dynamic", "int8", "int16x8", "uint8"]


class FileRef(Strict, frozen=True, kw_only=True):
    """A member of the container, by content."""

    file: Annotated[str, Meta(max_length=96)]
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1, le=1 << 30)]


class Quantization(Strict, frozen=True, kw_only=True):
    """Affine quantization, per tensor: `real = scale * (q - zero_point)` (TFLite quantization
    specification)."""

    scale: Annotated[float, Meta(gt=0.0)]
    zero_point: Annotated[int, Meta(ge=-32768, le=32767)] = 0


class TensorSpec(Strict, frozen=True, kw_only=True):
    """One tensor at the border of a model file. `shape` includes the batch of 1."""

    name: Annotated[str, Meta(max_length=512)]
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=8)]
    dtype: DType
    quantization: Quantization | None = None


class Normalization(Strict, frozen=True, kw_only=True):
    """`real = (pixel - mean) / std`, per channel or one value for all, pixel in 0..255."""

    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=4)]
    std: Annotated[tuple[Annotated[float, Meta(gt=0.0)], ...], Meta(min_length=1, max_length=4)]


class InputSpec(Strict, frozen=True, kw_only=True):
    """What a captured frame becomes before it enters the engine.

    Attributes:
        width: Model input width, in pixels.
        height: Model input height, in pixels.
        channels: 1 or 3.
        color: Channel order the model wants.
        resize: `stretch`, `letterbox` or `crop`; see `bedside.runtime.geometry.fit`.
        interpolation: OpenCV's interpolation of that name.
        pad: Pixel value of letterbox padding.
        layout: Axis order of the tensor.
        dtype: Of the tensor. bedside's own exports take `uint8` pixels and nothing else.
        quantization: Of the tensor. `(1.0, 0)` and `uint8` means: pixels go in as they are.
        normalization: For third-party models that want it outside the graph; None when the graph takes
            pixels.
        latent: The tensor is no frame but `(1, latent) float32` standard normal numbers, drawn anew for every
            frame (generation); width, height and channels are then those of the picture that comes out.
    """

    width: Dimension
    height: Dimension
    channels: Literal[1, 3] = 3
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["nearest", "linear", "area", "cubic"] = "linear"
    pad: Annotated[int, Meta(ge=0, le=255)] = 0
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: DType = "uint8"
    quantization: Quantization | None = None
    normalization: Normalization | None = None
    latent: Annotated[int, Meta(ge=1, le=65536)] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Tensor shape, batch of 1 included."""
        if self.latent is not None:
            return (1, self.latent)
        if self.layout == "nchw":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


class ClassMetric(Strict, frozen=True, kw_only=True):
    """One class on the holdout: how many samples, and its metric (recall, Dice, AP50)."""

    label: Line
    samples: Annotated[int, Meta(ge=0)]
    value: Fraction
    reference: Fraction | None = None


class HostSpeed(Strict, frozen=True, kw_only=True):
    """How fast a variant was where it was made. It says nothing about another host.

    Attributes:
        host: Processor and engine, in words.
        threads: Of the engine.
        invoke_ms: Median time of an invocation, in ms.
        reference_ms: The same of the fp32 variant of the same format, measured in turns with it.
        faster: Whether the 95 % interval of the ratio lies on the faster side; None: cannot be told.
    """

    host: Line
    threads: Positive
    invoke_ms: Annotated[float, Meta(ge=0.0)]
    reference_ms: Annotated[float, Meta(ge=0.0)]
    faster: bool | None = None


class Evaluation(Strict, frozen=True, kw_only=True):
    """A variant on the holdout, run through `bedside.runtime`, against the Keras model.

    Attributes:
        metric: For example `accuracy`.
        value: Of this variant.
        reference: Of the Keras fp32 model on the same samples.
        drop: `reference - value`.
        samples: Size of the holdout.
        interval: 95 % interval of `value`; the method is named in the report.
        worst_class: The class with the lowest value.
        agreement: Fraction of samples with the same decision as Keras.
        engine: Engine the evaluation ran on.
        classes: Per class.
        others: Further metrics by name, for example `AP50:95`.
        kept_float: Layers that int8 had to leave in float to pass.
        speed: On the host that made it.
    """

    metric: Line
    value: float
    reference: float | None = None
    drop: float | None = None
    samples: Positive
    interval: tuple[float, float] | None = None
    worst_class: Line | None = None
    agreement: Fraction | None = None
    engine: Line | None = None
    classes: tuple[ClassMetric, ...] = ()
    others: dict[Line, float] = {}
    kept_float: tuple[Annotated[str, Meta(max_length=512)], ...] = ()
    speed: HostSpeed | None = None


class Variant(Strict, frozen=True, kw_only=True):
    """One model file, or the record of one that was refused.

    Attributes:
        id: Unique in the model, for example `tflite-int8`.
        format: Container of the weights.
        precision: Arithmetic of the weights and activations.
        file: Member of the bundle; None where the variant is not shipped.
        sha256: Of the file, shipped or not.
        bytes: Of the file, shipped or not.
        inputs: Tensors the file takes.
        outputs: Tensors the file gives, in the order of `Model.outputs`.
        evaluation: None for third-party models that were packed unevaluated.
        refused: Why the gate refused it; such a variant has no file.
    """

    id: Name
    format: Format
    precision: Precision
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1, le=1 << 30)]
    file: Annotated[str, Meta(max_length=96)] | None = None
    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=4)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=16)]
    evaluation: Evaluation | None = None
    refused: Text | None = None


class EngineGolden(Strict, frozen=True, kw_only=True):
    """Golden samples at the engine's input.

    Attributes:
        input: `.npy`, `(N, *tensor shape without batch)`, the model's input dtype.
    """

    input: FileRef


class FrameGolden(Strict, frozen=True, kw_only=True):
    """One golden captured frame, for preprocess and decode.

    Attributes:
        frame: `.npy`, `(H, W, C) uint8`.
        color: Channel order of the frame.
        sample: Index into the engine goldens of what preprocess must make of it.
    """

    frame: FileRef
    color: Literal["bgr", "rgb", "gray"] = "bgr"
    sample: Annotated[int, Meta(ge=0, le=255)]


class VariantGolden(Strict, frozen=True, kw_only=True):
    """What one variant must answer.

    Attributes:
        variant: Its id.
        outputs: `.npy` files, `(N, *output shape without batch) float32`, dequantized, one per output; or the
            codes of a quantized output in its own type.
        tolerance: Largest `max|a - b| / max|b|` per output allowed on any host.
    """

    variant: Name
    outputs: Annotated[tuple[FileRef, ...], Meta(min_length=1, max_length=16)]
    tolerance: Annotated[float, Meta(ge=0.0, le=MAX_TOLERANCE)]


class Golden(Strict, frozen=True, kw_only=True):
    """Known answers, replayed on the device for every session that it compiles.

    Attributes:
        engine: Samples at the engine's input.
        frames: Captured frames.
        variants: Expected outputs per shipped variant.
        pixel_tolerance: Largest difference, in input codes, between preprocess on this host and the stored
            sample.
    """

    engine: EngineGolden
    frames: Annotated[tuple[FrameGolden, ...], Meta(max_length=16)] = ()
    variants: Annotated[tuple[VariantGolden, ...], Meta(min_length=1, max_length=64)]
    pixel_tolerance: Annotated[int, Meta(ge=0, le=4)] = 2


class Model(Strict, frozen=True, kw_only=True):
    """A model in one role.

    Attributes:
        input: From captured frame to tensor.
        outputs: Names of the outputs, in order.
        decode: From tensors to a result.
        variants: At least one shipped.
        golden: Known answers.
        default: Id of the variant that runs where nothing was measured.
    """

    input: InputSpec
    outputs: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=16)]
    decode: Decode
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=64)]
    golden: Golden
    default: Name

    def variant(self, variant_id: str) -> Variant | None:
        """The variant with that id, or None."""
        return next((v for v in self.variants if v.id == variant_id), None)

    @property
    def shipped(self) -> tuple[Variant, ...]:
        """Variants whose file is in the bundle."""
        return tuple(v for v in self.variants if v.file is not None)


class DataSource(Strict, frozen=True, kw_only=True):
    """Data a model was trained on, with its licence."""

    name: Line
    licence: Line
    citation: Text = ""
    note: Text = ""


class Split(Strict, frozen=True, kw_only=True):
    """One split of the data: how many samples, and a digest over their contents in order."""

    name: Line
    samples: Annotated[int, Meta(ge=0)]
    groups: Annotated[int, Meta(ge=0)] | None = None
    sha256: Sha256 | None = None


class Provenance(Strict, frozen=True, kw_only=True):
    """How the bundle came to be.

    Attributes:
        created_utc: ISO 8601; given by the builder, so that the same inputs can give the same bytes.
        tools: Library versions.
        recipe_sha256: Of the recipe as read.
        seed: Of splits, weights and augmentation.
        calibration_samples: How many training samples int8 calibration saw.
        splits: Of the data.
        notes: Anything a reader must know, for example that a calibration set was small.
    """

    created_utc: Line
    tools: dict[Line, Line] = {}
    recipe_sha256: Sha256 | None = None
    seed: int | None = None
    calibration_samples: Annotated[int, Meta(ge=0)] | None = None
    splits: tuple[Split, ...] = ()
    notes: tuple[Text, ...] = ()


class Manifest(Strict, frozen=True, kw_only=True):
    """The content of `bundle.json`.

    Attributes:
        guard_sees: What the model in the role `guard` is given: the captured `frame`, or the main model's
            `input` tensor taken for a frame, which costs far less where frames are large.
    """

    format_version: Literal[1]
    min_runtime: Version
    name: Name
    version: Version
    task: Task | Literal["raw"]
    description: Text
    intended_use: Text
    data_source: tuple[DataSource, ...] = ()
    eval_metrics: dict[Line, float] = {}
    authors: Line = ""
    copyright: Line = ""
    licence: Line = ""
    changelog: dict[Version, Text] = {}
    card: FileRef
    models: dict[Literal["main", "guard"], Model]
    guard_sees: Literal["frame", "input"] = "frame"
    provenance: Provenance

    @property
    def main(self) -> Model:
        """The model in the role `main`."""
        return self.models["main"]

    def files(self) -> dict[str, FileRef]:
        """Every member that the manifest names, by file name.

        Raises:
            ValueError: Two entries name one file with different content.
        """
        refs = [self.card]
        for model in self.models.values():
            refs += [
                FileRef(file=v.file, sha256=v.sha256, bytes=v.bytes)
                for v in model.variants
                if v.file is not None
            ]
            golden = model.golden
            refs.append(golden.engine.input)
            refs += [f.frame for f in golden.frames]
            refs += [out for v in golden.variants for out in v.outputs]
        table: dict[str, FileRef] = {}
        for ref in refs:
            if table.setdefault(ref.file, ref) != ref:
                raise ValueError(f"{ref.file} is named twice with different digests")
        return table
