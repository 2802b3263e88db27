"""The export recipe: one TOML file that says how a bundle comes to be.

This is its schema; `bedside.export.recipe_loading` reads and checks files. Everything but `name` and `[data]` has
a default, so that `Recipe(name=..., data=...)` is a recipe as well.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.export.data.recipe import DataRecipe
from bedside.export.models.recipe import Cnn, Dcgan, ModelRecipe
from bedside.export.training.augment_recipe import AugmentRecipe
from bedside.runtime.bundle.fields import Fraction, Line, Name, Text, Version
from bedside.runtime.bundle.manifest import InputSpec, Task

VariantId = Literal[
    "tflite-fp32",
    "tflite-fp16",
    "tflite-dynamic",
    "tflite-int8",
    "tflite-int16x8",
    "onnx-fp32",
    "onnx-int8",
]
VARIANTS: tuple[VariantId, ...] = (
    "tflite-fp32",
    "tflite-fp16",
    "tflite-dynamic",
    "tflite-int8",
    "tflite-int16x8",
    "onnx-fp32",
    "onnx-int8",
)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen, and refuses unknown keys."""


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


class TrainingRecipe(_Strict, frozen=True, kw_only=True):
    """`[training]`.

    Attributes:
        epochs: At most that many.
        batch: Frames per step.
        learning_rate: Of the optimizer; None: 1e-3, and 2e-4 for a GAN (Radford et al., DCGAN, 2016).
        schedule: `constant`, or `cosine` from the learning rate down to 0 at the last of the epochs
            (Loshchilov & Hutter, SGDR, 2017, without restarts).
        warm_up: Epochs over which the learning rate rises from 0.
        patience: Epochs without a better validation loss before it stops; 0: never early.
        optimizer: `adam`, or `adamw` with `weight_decay` (Loshchilov & Hutter, 2019).
        weight_decay: Of `adamw`.
        average: Momentum of an exponential moving average of the weights, which is what is kept (Polyak &
            Juditsky, 1992); None: none.
        class_weights: `auto` weighs classes inversely to their count where they are imbalanced; `none` never.
        label_smoothing: Of classification.
        mixed_precision: `auto` computes in bfloat16 where an accelerator has it, but for adversarial training;
            processors are slower with it. What is exported is float32 either way.
        tensorboard: Write TensorBoard logs into the work folder.
        strategy: `none`; `mirrored`, all accelerators of this machine; `workers`, several machines that
            `TF_CONFIG` names (`tf.distribute`). `batch` is that of all of them together.
        augment: How training frames are varied.
    """

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 30
    batch: Annotated[int, Meta(ge=1, le=4096)] = 32
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: Annotated[int, Meta(ge=0, le=1000)] = 0
    patience: Annotated[int, Meta(ge=0, le=10_000)] = 8
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: Annotated[float, Meta(ge=0.0, le=1.0)] = 1e-4
    average: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    class_weights: Literal["auto", "none"] = "auto"
    label_smoothing: Annotated[float, Meta(ge=0.0, lt=0.5)] = 0.0
    mixed_precision: Literal["auto", "off"] = "auto"
    tensorboard: bool = False
    strategy: Literal["none", "mirrored", "workers"] = "none"
    augment: AugmentRecipe = AugmentRecipe()


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
        relative: The task's metric, at least this fraction of the Keras model's (an error: at most the
            Keras model's divided by it).
        worst_class: The same for every class.
        min_agreement: Fraction of decisions that are the Keras model's: classes of frames, of pixels, or
            boxes; for pictures the structural similarity (SSIM) to the Keras model's picture.
        minimum: The metric at least this, whatever the Keras model reaches. Not for errors.
        rescue: Whether int8 variants that fail may keep their most sensitive layers in float.
        max_float: Largest fraction of the layers that a rescue may keep in float.
    """

    relative: Fraction = 0.99
    worst_class: Fraction = 0.99
    min_agreement: Fraction = 0.97
    minimum: Fraction = 0.0
    rescue: bool = True
    max_float: Fraction = 0.5


class DetectionRecipe(_Strict, frozen=True, kw_only=True):
    """`[detection]`: how boxes are picked on the device.

    Attributes:
        threshold: Boxes with a lower score are left out; None: the score with the best F1 on the validation
            split.
        iou: Non-maximum suppression drops a box that overlaps a better one of its class by more.
    """

    threshold: Fraction | None = None
    iou: Fraction = 0.5


class TrustRecipe(_Strict, frozen=True, kw_only=True):
    """`[trust]`: what a device can say of its own answers.

    Attributes:
        temperature: Calibrate confidence on the calibration split (classification).
        coverage: Of conformal prediction sets, from the calibration split; None: none (classification). They do
            not need `temperature`.
        maps: Class activation maps, where the network can give them (classification).
        false_alarm: Fraction of holdout frames that an autoencoder may take for foreign; where its threshold
            is set (reconstruction).
    """

    temperature: bool = True
    coverage: Annotated[float, Meta(gt=0.5, lt=1.0)] | None = 0.9
    maps: bool = True
    false_alarm: Annotated[float, Meta(gt=0.0, le=0.5)] = 0.01


class GuardRecipe(_Strict, frozen=True, kw_only=True):
    """`[guard]`: an autoencoder that travels in the bundle and withholds results on foreign frames.

    Attributes:
        bundle: A bundle whose main model is an autoencoder, below the data root or the folder of the output.
        variant: Which of its variants.
        false_alarm: Fraction of this model's own holdout frames that may be taken for foreign.
        sees: The captured `frame`, or the main model's `input`, which costs less.
    """

    bundle: str
    variant: VariantId = "tflite-int8"
    false_alarm: Annotated[float, Meta(gt=0.0, le=0.5)] = 0.01
    sees: Literal["frame", "input"] = "input"


class Recipe(_Strict, frozen=True, kw_only=True):
    """One recipe, checked. The task follows from the architecture."""

    name: Name
    data: DataRecipe
    version: Version = "1.0.0"
    task: Task | None = None
    description: Text = ""
    intended_use: Text = ""
    authors: Line = ""
    copyright: Line = ""
    licence: Line = ""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1
    model: ModelRecipe = Cnn()
    input: InputRecipe = InputRecipe()
    training: TrainingRecipe = TrainingRecipe()
    quantization: QuantizationRecipe = QuantizationRecipe()
    gate: GateRecipe = GateRecipe()
    trust: TrustRecipe = TrustRecipe()
    guard: GuardRecipe | None = None
    detection: DetectionRecipe = DetectionRecipe()

    def input_spec(self) -> InputSpec:
        """The input that every exported variant takes: uint8 pixels, `(1, height, width, channels)`, or the
        latent of a generator."""
        color = self.input.color or ("rgb" if self.model.channels == 3 else "gray")
        latent = self.model.latent if isinstance(self.model, Dcgan) else None
        return InputSpec(
            width=self.model.width,
            height=self.model.height,
            channels=self.model.channels,
            color=color,
            resize=self.input.resize,
            interpolation=self.input.interpolation,
            pad=self.input.pad,
            dtype="uint8" if latent is None else "float32",
            latent=latent,
        )
