"""`bedside export --model`: a Keras model that was made elsewhere. Importable without TensorFlow."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.export.adopt.options import AdoptOptions
from bedside.export.adopt.preprocessing import NAMES, Preprocessing, named, scaled, standardized
from bedside.export.cli_values import floats, output, outputs, percent, size, span, words
from bedside.export.recipe import VARIANTS, InputRecipe, VariantId
from bedside.runtime.errors import UsageError

if TYPE_CHECKING:
    from bedside.export.plan import Plan

TASKS = ("classification", "segmentation", "detection", "reconstruction", "translation", "generation")
_DICOM = (".dcm", ".dicom", ".ima")
#: Attributes of the parser that only make sense for a model from elsewhere, and the options they come from.
FOREIGN: dict[str, str] = {}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that go with `--model`."""
    model = parser.add_argument_group("from a model made elsewhere")

    def add(*names: str, **settings: Any) -> None:
        action = model.add_argument(*names, **settings)
        FOREIGN[action.dest] = names[0]

    model.add_argument(
        "--model", metavar="M.keras", help="Sequential or functional; subclassed with --import"
    )
    add("--task", choices=TASKS, help="what it does (default classification)")
    add(
        "--data",
        metavar="PATH",
        help="class folders, images/ and masks/, boxes or COCO .json, pictures, .npz, "
        "or a .toml with the [data] of a recipe",
    )
    add("--labels", type=words, metavar="A,B,C", help="class names in the order of its outputs")
    add("--preprocessing", choices=NAMES, help="what the model expects: 0..255, 0..1, -1..1, ...")
    add("--scale", type=float, metavar="S", help="it expects pixel * S + offset")
    add("--offset", type=float, metavar="O", help="see --scale (default 0)")
    add("--mean", type=floats, metavar="A,B,C", help="it expects (pixel - mean) / std, pixel 0..255")
    add("--std", type=floats, metavar="A,B,C", help="see --mean")
    add("--color", choices=["rgb", "bgr", "gray"], help="channel order it expects (default rgb)")
    add("--resize", choices=["stretch", "letterbox", "crop"], help="how frames fit (default stretch)")
    add("--interpolation", choices=["nearest", "linear", "area", "cubic"], help="default area")
    add("--size", type=size, metavar="WxH", help="of its input, where it takes any")
    add("--import", dest="modules", action="append", metavar="MODULE", help="registers its classes")
    add("--gate", type=percent, metavar="PERCENT", help="of Keras' metric, to be kept (default 99)")
    add("--variants", type=words, metavar="A,B", help=f"default {','.join(VARIANTS)}")
    add("--guard", metavar="X.bedside", help="an autoencoder bundle that withholds results on foreign frames")
    add("--name", help="of the bundle (default: from the output)")
    add("--seed", type=int, help="of splits and calibration (default 1)")
    add("--description", help="for the card")
    add("--intended-use", help="for the card")
    said = parser.add_argument_group("what cannot be read from such a model (see --help-outputs TASK)")

    def state(*names: str, **settings: Any) -> None:
        action = said.add_argument(*names, **settings)
        FOREIGN[action.dest] = names[0]

    state("--output-is", dest="which", type=output, metavar="N|NAME", help="the one output that counts")
    state("--scores", choices=["probabilities", "logits"], help="classification, segmentation: what they are")
    state("--threshold", type=float, help="segmentation: foreground above it; detection: no box below it")
    state("--boxes", type=outputs, metavar="N|NAME,...", help="detection: box outputs, one per level")
    state("--box-scores", type=outputs, metavar="N|NAME,...", help="detection: their score outputs")
    state("--coding", choices=["xyxy", "yxyx", "cxcywh", "ltrb"], help="detection: the four numbers of a box")
    state("--units", choices=["normalized", "pixels", "cells"], help="detection: what they are measured in")
    state("--activation", choices=["none", "sigmoid", "softmax"], help="detection: what scores still need")
    state(
        "--background", choices=["none", "first", "last"], help="detection: where the class 'nothing' stands"
    )
    state("--iou", help="detection: overlap for non-maximum suppression, or 'none' (default 0.5)")
    state("--code", type=output, metavar="N|NAME", help="reconstruction: the output that is the code")
    state("--range", dest="span", type=span, metavar="LOW,HIGH", help="pictures: values of black and white")


def adopt_options(args: argparse.Namespace) -> AdoptOptions:
    """What the options say of the model.

    Raises:
        UsageError: They contradict each other.
    """
    try:
        iou = 0.5 if args.iou is None else None if args.iou == "none" else float(args.iou)
    except ValueError:
        raise UsageError(f"expected a number or none, got {args.iou!r}", where="--iou") from None
    low, high = args.span or (None, None)
    options = AdoptOptions(
        output=args.which,
        scores=args.scores,
        threshold=args.threshold,
        boxes=args.boxes or (),
        box_scores=args.box_scores or (),
        coding=args.coding,
        units=args.units,
        activation=args.activation,
        background=args.background,
        iou=iou,
        code=args.code,
        low=low,
        high=high,
    )
    options.check()
    return options


def input_recipe(args: argparse.Namespace) -> InputRecipe:
    """From captured frame to input."""
    return InputRecipe(
        resize=args.resize or "stretch", interpolation=args.interpolation or "area", color=args.color
    )


def plan(args: argparse.Namespace) -> Plan:
    """What is wanted of the export.

    Raises:
        UsageError: A name or a variant that there is not.
    """
    from bedside.export.plan import Plan
    from bedside.export.recipe import GateRecipe, GuardRecipe, QuantizationRecipe

    stem = args.output.name.removesuffix(".bedside").lower()
    name = args.name or re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64]
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise UsageError(
            f"{name!r} is no bundle name", where="--name", hint="lower case letters, digits, . _ -"
        )
    gate = GateRecipe() if args.gate is None else GateRecipe(relative=args.gate, worst_class=args.gate)
    return Plan(
        name=name,
        description=args.description or f"Exported from {Path(args.model).name}.",
        intended_use=args.intended_use or "",
        seed=1 if args.seed is None else args.seed,
        quantization=QuantizationRecipe(variants=variants_asked(args.variants) or VARIANTS),
        gate=gate,
        guard=None if args.guard is None else GuardRecipe(bundle=args.guard),
        folders=(Path(),),
        golden_from_data=args.golden_from_data,
    )


def variants_asked(words: Sequence[str] | None) -> tuple[VariantId, ...]:
    """What `--variants` names, each once; empty where it is not given.

    Raises:
        UsageError: No variant is called so.
    """
    known: dict[str, VariantId] = {v: v for v in VARIANTS}
    for word in words or ():
        if word not in known:
            raise UsageError(f"no variant is called {word!r}", where="--variants", hint=", ".join(VARIANTS))
    return tuple(known[word] for word in dict.fromkeys(words or ()))


def preprocessing(args: argparse.Namespace) -> Preprocessing | None:
    """What the options say of the model's input, None where they say nothing.

    Raises:
        UsageError: They contradict each other.
    """
    given = [
        option
        for option, values in (
            ("--preprocessing", (args.preprocessing,)),
            ("--scale/--offset", (args.scale, args.offset)),
            ("--mean/--std", (args.mean, args.std)),
        )
        if any(value is not None for value in values)
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", hint="give one of them")
    if args.preprocessing is not None:
        return named(args.preprocessing, args.color)
    if args.scale is not None:
        return scaled(args.scale, args.offset or 0.0)
    if args.offset is not None:
        raise UsageError("--offset needs --scale")
    if (args.mean is None) != (args.std is None):
        raise UsageError("--mean and --std go together")
    return None if args.mean is None else standardized(args.mean, args.std)


def data_recipe(path: Path, task: str, labels: tuple[str, ...] | None) -> Any:
    """The kind of data that a path is.

    Raises:
        UsageError: There is nothing, or nothing that the task can be judged on.
        RecipeError: A `.toml` that is no `[data]`.
    """
    from bedside.export.data import recipe as kinds

    if not path.exists():
        raise UsageError("no such file or folder", where=str(path))
    whole = path.resolve()
    if path.suffix.lower() == ".toml":
        return _from_toml(path)
    if path.suffix.lower() == ".json" and path.is_file():
        return _from_json(whole, labels)
    if path.is_file() and path.suffix.lower() != ".npz":
        raise UsageError("is a file, expected a folder, .json, .npz or .toml", where=str(path))
    if path.is_file():
        return kinds.MedMnistData(path=str(whole), labels=labels)
    match task:
        case "segmentation":
            return kinds.MaskFoldersData(path=str(whole), labels=labels)
        case "detection":
            hint = "--data boxes.json, COCO's or {picture: [[x0, y0, x1, y1], ...]}, or a .toml with [data]"
            raise UsageError("is a folder; boxes come in a file", where=str(path), hint=hint)
        case "translation":
            return kinds.FramesData(path=str(whole), inputs="inputs", targets="targets")
        case "reconstruction" | "generation":
            return kinds.FramesData(path=str(whole))
    first = next((p for p in sorted(path.rglob("*")) if p.is_file() and not p.name.startswith(".")), None)
    if first is not None and first.suffix.lower() in _DICOM:
        return kinds.DicomFoldersData(path=str(whole), labels=labels)
    return kinds.ClassFoldersData(path=str(whole), labels=labels)


def check_task(data: Any, task: str, where: str) -> None:
    """Refuse data that the task cannot be judged on.

    Raises:
        UsageError: It has no masks, boxes or wanted pictures, or no classes.
    """
    from bedside.export.data.recipe_checks import tasks_of

    learnt = tasks_of(data)
    if task not in learnt:
        raise UsageError(f"such data is for {', '.join(learnt)}, not for {task}", where=where)


def _from_toml(path: Path) -> Any:
    """A file that holds `[data]` and nothing else."""
    import msgspec

    from bedside.export.data.recipe import DataRecipe
    from bedside.export.data.recipe_checks import check_data
    from bedside.runtime import strict_toml
    from bedside.runtime.errors import RecipeError

    # Annotations of a class in here would be looked up in the module, which does not have them.
    whole = msgspec.defstruct(
        "DataFile", [("data", DataRecipe)], frozen=True, forbid_unknown_fields=True, module=__name__
    )
    raw = strict_toml.read_file(path, error=RecipeError)
    data: Any = strict_toml.loads(raw, whole, error=RecipeError, where=str(path)).data  # type: ignore[attr-defined]
    check_data(data, where=str(path))
    return data


def _from_json(path: Path, labels: tuple[str, ...] | None) -> Any:
    """COCO's file has a list of annotations, the simple one a table of pictures."""
    from bedside.export.data import recipe as kinds

    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None
    folder = str(path.parent)
    images = "images" if (path.parent / "images").is_dir() else "."
    if isinstance(raw, dict) and isinstance(raw.get("annotations"), list):
        return kinds.CocoData(path=folder, annotations=path.name, images=images, labels=labels)
    return kinds.BoxesData(path=folder, boxes=path.name, images=images, labels=labels)
