"""What a model's outputs must look like, per task, in plain words. Importable without TensorFlow.

The modules that hold models to it are `class_outputs`, `box_outputs` and `picture_outputs`.
"""

from __future__ import annotations

from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError

#: Ends the hints of refusals.
HELP = "bedside export --help-outputs TASK says what fits"

_FRAME = """\
Input: one tensor (N, height, width, channels), channels 1 or 3 and last, one fixed size (a model that takes any
size is given one with --size). A flat input (N, height * width * channels) works where --size and --color say
what it is. What happens to pixels 0..255 has to be known: the model begins with Rescaling or Normalization, or
--preprocessing, --scale and --offset, or --mean and --std say it."""

_LATENT = "Input: one tensor (N, D) or (N, 1, 1, D), standard normal numbers, D fixed. No preprocessing."

_MODEL = """\
Model: a .keras file, Sequential, functional, or subclassed with --import; float32; no Lambda layer; every custom
class registered; no dynamic shape behind a fixed input; the same input gives the same outputs twice;
--output-is names the output that counts where there are more than are asked for below."""

_CLASSIFICATION = """\
One output, in one of these forms (K: number of labels, in their order):
  (N, K)  softmax, or logits: a last layer without activation, or --scores logits
  (N, 1)  sigmoid, or its logit; two labels: p belongs to the second. It is exported as [1 - p, p].
Optional second output (N, h, w, K): class activation maps. Where a model ends in GlobalAveragePooling2D and one
Dense layer, they are added without being asked for."""

_SEGMENTATION = """\
One output (N, h, w, K): class scores of every pixel. Its sides are those of the input, or each an equal whole
fraction of it. In one of these forms (K: number of labels, the background first):
  (N, h, w, K)  softmax over the last axis, or logits: a last layer without activation, or --scores logits
  (N, h, w, 1)  sigmoid, or its logit; two labels: p belongs to the second
Not: class indices (argmax), flattened pixels, several labels per pixel (sigmoid over K channels)."""

_DETECTION = """\
Two outputs per level, boxes and scores, as a list in any order or as a dict (K: number of labels):
  (N, Q, 4) and (N, Q, K)        Q boxes. Say what they are: --coding xyxy|yxyx|cxcywh, or that word in the
                                 output's name, for example boxes_xyxy.
  (N, h, w, 4) and (N, h, w, K)  one box per cell of a grid, one or several grids: distances left, top, right,
                                 bottom from the centre of the cell, at least 0, in cells (--coding ltrb;
                                 --units normalized|pixels|cells where it differs)
  (N, 4) and (N, K)              one box, as the first form with Q = 1
Boxes are 0..1 of the input where they end in a sigmoid, else --units normalized|pixels says it. Scores end in a
sigmoid or a softmax, else --activation none|sigmoid|softmax says what they need. With K + 1 scores one is the
class "nothing": --background first|last. Where shapes do not tell boxes from scores, names with "box" in them or
--boxes and --box-scores do.
Not: offsets to anchors, boxes and scores in one tensor, non-maximum suppression in the graph (bedside does it,
--iou; --iou none for set prediction)."""

_RANGE = """\
Values: 0..1 where it ends in a sigmoid, -1..1 where it ends in tanh, scaled by what is computed after that
(Rescaling, or (x + 1) / 2). Anything else, and tanh behind pixels of 0..1, needs --range LOW,HIGH: the values that
mean pixel 0 and pixel 255."""

_RECONSTRUCTION = f"""\
One output, the input again: (N, height, width, channels), or flattened, (N, height * width * channels).
{_RANGE}
Optional second output (N, D): the code, for the out-of-distribution score (--code where there are more)."""

_TRANSLATION = f"""\
One output (N, h, w, 1 or 3), a picture of any size.
{_RANGE}"""

_GENERATION = f"""\
One output (N, h, w, 1 or 3), a picture.
{_RANGE}"""

_OUTPUTS: dict[str, str] = {
    "classification": _CLASSIFICATION,
    "segmentation": _SEGMENTATION,
    "detection": _DETECTION,
    "reconstruction": _RECONSTRUCTION,
    "translation": _TRANSLATION,
    "generation": _GENERATION,
}
#: Tasks that a model can be exported for.
TASKS: tuple[Task, ...] = (
    "classification", "segmentation", "detection", "reconstruction", "translation", "generation",
)  # fmt: skip
#: Tasks whose outputs are counted against labels.
LABELLED: tuple[Task, ...] = ("classification", "segmentation", "detection")


def requirements(task: Task) -> str:
    """What a model has to look like, for people to read: several lines, no line end at the end.

    Args:
        task: One of `TASKS`.

    Raises:
        UsageError: No model can be exported for it.
    """
    check_task(task)
    return "\n".join((_LATENT if task == "generation" else _FRAME, _MODEL, _OUTPUTS[task]))


def check_task(task: str) -> None:
    """Refuse tasks that no model can be exported for.

    Raises:
        UsageError: With those that there are.
    """
    if task not in TASKS:
        raise UsageError(f"no model is exported for {task!r}", where="--task", hint=", ".join(TASKS))
