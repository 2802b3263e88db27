"""The export recipe: one TOML file that says how a bundle comes to be.

This is its schema; `bedside.export.recipe_loading` reads and checks files. Everything but `name` and `[data]` has
a default, so that `Recipe(name=..., data=...)` is a recipe as well.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.manifest import (
    DataSource,
    Fraction,
    InputSpec,
    Line,
    Name,
    Positive,
    Text,
    Version,
)

VariantId = Literal["tflite-fp32", "tflite-fp16", "tflite-dynamic", "tflite-int8", "onnx-fp32", "onnx-int8"]
VARIANTS: tuple[VariantId, ...] = (
    "tflite-fp32",
    "tflite-fp16",
    "tflite-dynamic",
    "tflite-int8",
    "onnx-fp32",
    "onnx-int8",
)
#: Largest input side a recipe may ask for, in pixels.
_Side = Annotated[int, Meta(ge=8, le=2048)]
_NonNegative = Annotated[float, Meta(ge=0.0)]
_SplitFraction = Annotated[float, Meta(gt=0.0, lt=0.9)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen, and refuses unknown keys."""


class ModelRecipe(_Strict, frozen=True, kw_only=True):
    """`[model]`: the network. The number of classes comes from the data.

    Attributes:
        architecture: `cnn`, see `bedside.export.models.cnn`.
        width: Input width in pixels.
        height: Input height in pixels.
        channels: 1 or 3.
        width_multiplier: Scales the filters of every convolution.
        dense: Units of the hidden dense layer; None: 128 scaled by `width_multiplier`.
    """

    architecture: Literal["cnn"] = "cnn"
    width: _Side = 224
    height: _Side = 224
    channels: Literal[1, 3] = 3
    width_multiplier: Annotated[float, Meta(gt=0.0, le=8.0)] = 1.0
    dense: Annotated[int, Meta(ge=1, le=8192)] | None = None


class InputRecipe(_Strict, frozen=True, kw_only=True):
    """`[input]`: from a captured frame to the input, as in `bedside.runtime.bundle.manifest.InputSpec`.

    Attributes:
        resize: `stretch`, `letterbox` or `crop`.
        interpolation: OpenCV's interpolation of that name.
        color: Channel order; None: `rgb` for 3 channels, `gray` for 1.
        pad: Pixel value of letterbox padding.
    """

    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["nearest", "linear", "area", "cubic"] = "area"
    color: Literal["rgb", "bgr", "gray"] | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] = 0


class AugmentRecipe(_Strict, frozen=True, kw_only=True):
    """`[training.augment]`: how training frames are varied; the defaults vary nothing.

    Ranges are half-widths around "unchanged"; probabilities are per frame. See `bedside.export.augment`.

    Attributes:
        flip_horizontal: Probability.
        flip_vertical: Probability.
        rotate: Largest angle, in degrees.
        scale: Largest relative change of size.
        stretch: Largest relative change of the aspect ratio.
        shift: Largest shift, as a fraction of the side.
        crop: Smallest kept side as a fraction is `1 - crop`; what is kept fills the frame.
        brightness: Largest added fraction of 255.
        contrast: Largest relative change of contrast about the mean.
        gamma: Largest `|log2(gamma)|`.
        saturation: Largest relative change of saturation (3 channels only).
        hue: Largest turn of the hue, in degrees (3 channels only).
        gray: Probability of taking all colour away (3 channels only).
        tint: Largest gain or loss of one channel, relative (3 channels only).
        blur: Largest Gaussian sigma, in pixels of the model's input.
        noise: Largest Gaussian sigma, in grey levels.
        jpeg: Probability of a JPEG round trip, quality 25 to 90.
        pad: Probability of shrinking the frame into a black or grey screen with furniture around it.
        furniture: Probability of scanner furniture (text, scale bars, grey wedge) drawn over the frame.
        screen_labels: Classes that `pad` and `furniture` apply to; None: all. A test pattern does not become
            another one inside a scanner's screen, but it may come to look like a scanner's picture.
    """

    flip_horizontal: Fraction = 0.0
    flip_vertical: Fraction = 0.0
    rotate: Annotated[float, Meta(ge=0.0, le=180.0)] = 0.0
    scale: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    stretch: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    shift: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    crop: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    gamma: Annotated[float, Meta(ge=0.0, le=3.0)] = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Meta(ge=0.0, le=180.0)] = 0.0
    gray: Fraction = 0.0
    tint: Fraction = 0.0
    blur: Annotated[float, Meta(ge=0.0, le=16.0)] = 0.0
    noise: Annotated[float, Meta(ge=0.0, le=128.0)] = 0.0
    jpeg: Fraction = 0.0
    pad: Fraction = 0.0
    furniture: Fraction = 0.0
    screen_labels: tuple[Line, ...] | None = None


class TrainingRecipe(_Strict, frozen=True, kw_only=True):
    """`[training]`.

    Attributes:
        epochs: At most that many.
        batch: Frames per step.
        learning_rate: Of Adam.
        schedule: `constant`, or `cosine` from the learning rate down to 0 at the last of the epochs
            (Loshchilov & Hutter, SGDR, 2017, without restarts).
        patience: Epochs without a better validation loss before it stops; 0: never early.
        optimizer: `adam`.
        class_weights: `auto` weighs classes inversely to their count where they are imbalanced; `none` never.
        augment: How training frames are varied.
    """

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 30
    batch: Annotated[int, Meta(ge=1, le=4096)] = 32
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    patience: Annotated[int, Meta(ge=0, le=10_000)] = 8
    optimizer: Literal["adam"] = "adam"
    class_weights: Literal["auto", "none"] = "auto"
    augment: AugmentRecipe = AugmentRecipe()


class _Data(_Strict, frozen=True, kw_only=True):
    """What every kind of data has.

    Attributes:
        holdout: Fraction of the groups of each class for the gate, where the data does not fix it.
        validation: Fraction for early stopping, where the data does not fix it.
        sources: For the model card: name, licence, citation, note.
    """

    holdout: _SplitFraction = 0.2
    validation: _SplitFraction = 0.15
    sources: tuple[DataSource, ...] = ()


class ClassFoldersData(_Data, frozen=True, kw_only=True, tag_field="kind", tag="class-folders"):
    """`kind = "class-folders"`: `path/CLASS/...` or `path/{train,val,test}/CLASS/...`.

    Attributes:
        path: Folder, relative to the data root.
        labels: Order of the classes; None: the folder names, sorted.
        group: Regular expression searched in the path below the class folder; its first group (or whole
            match) names the group. None: the first sub-folder, else the file by itself.
    """

    path: str
    labels: Annotated[tuple[Line, ...], Meta(min_length=2)] | None = None
    group: str | None = None


class DicomFoldersData(_Data, frozen=True, kw_only=True, tag_field="kind", tag="dicom-folders"):
    """`kind = "dicom-folders"`: class folders of DICOM objects; every frame is an item.

    Attributes:
        path: Folder, relative to the data root.
        labels: Order of the classes; None: the folder names, sorted.
        group: `patient` keeps a PatientID together (the object where it is empty); `object` each file.
        every: Take every n-th frame of a multi-frame object.
    """

    path: str
    labels: Annotated[tuple[Line, ...], Meta(min_length=2)] | None = None
    group: Literal["patient", "object"] = "patient"
    every: Positive = 1


class MedMnistData(_Data, frozen=True, kw_only=True, tag_field="kind", tag="medmnist"):
    """`kind = "medmnist"`: an `.npz` in MedMNIST's layout; `test` is the holdout.

    Attributes:
        path: File, relative to the data root.
        labels: Class names in the order of the indices; None: `class 0`, `class 1`, ...
    """

    path: str
    labels: Annotated[tuple[Line, ...], Meta(min_length=2)] | None = None


class SyntheticData(_Data, frozen=True, kw_only=True, tag_field="kind", tag="synthetic"):
    """`kind = "synthetic"`: ultrasound drawn by `bedside.runtime.synthetic`; needs no files.

    The classes are `plain`, `cyst` and `mass`.

    Attributes:
        samples: Per class.
        width: Of a drawn frame, in pixels.
        height: Of a drawn frame, in pixels.
    """

    samples: Annotated[int, Meta(ge=4, le=1_000_000)] = 200
    width: Annotated[int, Meta(ge=16, le=2048)] = 128
    height: Annotated[int, Meta(ge=16, le=2048)] = 128


class CollectionItem(_Strict, frozen=True, kw_only=True):
    """One entry of `[[data.items]]`: files by pattern, or drawn frames.

    Attributes:
        label: Class of all of them.
        glob: Pattern below the data root (`**` allowed): images, or DICOM objects (`.dcm`).
        exclude: Patterns of files to leave out, below the data root.
        group: Regular expression searched in the path below the data root; see `ClassFoldersData.group`.
            None: every file by itself, every DICOM object by itself.
        split: Put all of them there, instead of drawing.
        synthetic: Draw instead of reading: `ultrasound`, `endoscopy` or `patterns`.
        count: How many to draw.
    """

    label: Line
    glob: str | None = None
    exclude: tuple[str, ...] = ()
    group: str | None = None
    split: Literal["train", "validation", "holdout"] | None = None
    synthetic: Literal["ultrasound", "endoscopy", "patterns"] | None = None
    count: Positive | None = None


class CollectionData(_Data, frozen=True, kw_only=True, tag_field="kind", tag="collection"):
    """`kind = "collection"`: classes put together from several places.

    Attributes:
        labels: Class names, in the order of the output.
        items: What belongs to them.
        path: Folder that the patterns start from, relative to the data root.
    """

    labels: Annotated[tuple[Line, ...], Meta(min_length=2)]
    items: Annotated[tuple[CollectionItem, ...], Meta(min_length=1)]
    path: str = "."


DataRecipe = ClassFoldersData | DicomFoldersData | MedMnistData | SyntheticData | CollectionData


class QuantizationRecipe(_Strict, frozen=True, kw_only=True):
    """`[quantization]`: which variants are made.

    Attributes:
        variants: Which are converted and evaluated.
        ship: Which of them may go into the bundle once they passed; None: all that passed.
        default: Which one runs on a device that has measured nothing; None: the builder's choice.
        calibration_samples: Training frames that int8 calibration sees.
    """

    variants: Annotated[tuple[VariantId, ...], Meta(min_length=1)] = VARIANTS
    ship: Annotated[tuple[VariantId, ...], Meta(min_length=1)] | None = None
    default: VariantId | None = None
    calibration_samples: Annotated[int, Meta(ge=1, le=100_000)] = 200


class GateRecipe(_Strict, frozen=True, kw_only=True):
    """`[gate]`: what a variant has to reach on the holdout, through the device's own code.

    Attributes:
        relative: Accuracy at least this fraction of the Keras model's.
        worst_class: The same for the recall of every class.
        min_agreement: Fraction of frames on which it decides as the Keras model does.
        min_accuracy: Accuracy at least this, whatever the Keras model reaches.
    """

    relative: Fraction = 0.99
    worst_class: Fraction = 0.99
    min_agreement: Fraction = 0.97
    min_accuracy: Fraction = 0.0


class Recipe(_Strict, frozen=True, kw_only=True):
    """One recipe, checked."""

    name: Name
    data: DataRecipe
    version: Version = "1.0.0"
    task: Literal["classification"] = "classification"
    description: Text = ""
    intended_use: Text = ""
    authors: Line = ""
    copyright: Line = ""
    licence: Line = ""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1
    model: ModelRecipe = ModelRecipe()
    input: InputRecipe = InputRecipe()
    training: TrainingRecipe = TrainingRecipe()
    quantization: QuantizationRecipe = QuantizationRecipe()
    gate: GateRecipe = GateRecipe()

    def input_spec(self) -> InputSpec:
        """The input that every exported variant takes: uint8 pixels, `(1, height, width, channels)`."""
        color = self.input.color or ("rgb" if self.model.channels == 3 else "gray")
        return InputSpec(
            width=self.model.width,
            height=self.model.height,
            channels=self.model.channels,
            color=color,
            resize=self.input.resize,
            interpolation=self.input.interpolation,
            pad=self.input.pad,
        )
