"""`bedside export`: from a recipe, or from somebody's Keras model. Importable without TensorFlow."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bedside.export.adopt.preprocessing import NAMES, Preprocessing, named, scaled, standardized
from bedside.export.recipe import VARIANTS
from bedside.export.terminal import Bars, print_result, progress_bars
from bedside.runtime.errors import UsageError

if TYPE_CHECKING:
    from bedside.export.bundling import ExportResult
    from bedside.export.plan import Plan

_INSTALL = 'pip install "bedside[export]"'
#: Options that only make sense for a model from elsewhere: attribute and option.
_FOREIGN = {
    "data": "--data",
    "preprocessing": "--preprocessing",
    "scale": "--scale",
    "offset": "--offset",
    "mean": "--mean",
    "std": "--std",
    "color": "--color",
    "resize": "--resize",
    "interpolation": "--interpolation",
    "size": "--size",
    "modules": "--import",
    "labels": "--labels",
    "scores": "--scores",
    "gate": "--gate",
    "variants": "--variants",
    "name": "--name",
    "seed": "--seed",
    "description": "--description",
    "intended_use": "--intended-use",
}
_DICOM = (".dcm", ".dicom", ".ima")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `bedside export`."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a recipe (.toml), or the name of a shipped one"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="X.bedside", help="the bundle to write"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--golden-from-data",
        type=int,
        default=0,
        metavar="N",
        help="put N real holdout frames into the bundle as golden frames (default: none, drawn ones only)",
    )
    recipe = parser.add_argument_group("from a recipe")
    recipe.add_argument(
        "--weights", metavar="W", help="take these weights (.weights.h5 or .keras), train nothing"
    )
    recipe.add_argument(
        "--data-root", metavar="DIR", help="where the recipe's paths start (default: its folder)"
    )
    recipe.add_argument(
        "--work", metavar="DIR", help="keep the state of the training there, to continue from"
    )
    model = parser.add_argument_group("from a model made elsewhere")
    model.add_argument(
        "--model", metavar="M.keras", help="Sequential or functional; subclassed with --import"
    )
    model.add_argument("--task", choices=["classification"], default="classification", help="what it does")
    model.add_argument("--data", metavar="PATH", help="class folders of images or DICOM, or a MedMNIST .npz")
    model.add_argument(
        "--preprocessing", choices=NAMES, help="what the model expects: 0..255, 0..1, -1..1, ..."
    )
    model.add_argument("--scale", type=float, metavar="S", help="it expects pixel * S + offset")
    model.add_argument("--offset", type=float, metavar="O", help="see --scale (default 0)")
    model.add_argument(
        "--mean", type=_floats, metavar="A,B,C", help="it expects (pixel - mean) / std, pixel 0..255"
    )
    model.add_argument("--std", type=_floats, metavar="A,B,C", help="see --mean")
    model.add_argument(
        "--color", choices=["rgb", "bgr", "gray"], help="channel order it expects (default rgb)"
    )
    model.add_argument(
        "--resize", choices=["stretch", "letterbox", "crop"], help="how frames fit (default stretch)"
    )
    model.add_argument("--interpolation", choices=["nearest", "linear", "area", "cubic"], help="default area")
    model.add_argument("--size", type=_size, metavar="WxH", help="of its input, where it takes any")
    model.add_argument(
        "--import", dest="modules", action="append", metavar="MODULE", help="registers its classes"
    )
    model.add_argument(
        "--labels", type=_words, metavar="A,B,C", help="class folders in the order of its outputs"
    )
    model.add_argument(
        "--scores", choices=["probabilities", "logits"], help="its outputs, where it cannot be read"
    )
    model.add_argument(
        "--gate", type=_percent, metavar="PERCENT", help="of Keras' accuracy, to be kept (default 99)"
    )
    model.add_argument("--variants", type=_words, metavar="A,B", help=f"default {','.join(VARIANTS)}")
    model.add_argument("--name", help="of the bundle (default: from the output)")
    model.add_argument("--seed", type=int, help="of splits and calibration (default 1)")
    model.add_argument("--description", help="for the card")
    model.add_argument("--intended-use", help="for the card")


def run(args: argparse.Namespace) -> int:
    """Export, and print what came of it.

    Returns:
        0. Everything else is an error.

    Raises:
        BedsideError: See `bedside.export.pipeline`.
    """
    _check_usage(args)
    with progress_bars() as steps:
        try:
            result = _recipe(args, steps) if args.recipe is not None else _model(args, steps)
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed here", where="export", hint=_INSTALL) from None
    if args.json:
        sys.stdout.write(msgspec.json.encode(summary(result)).decode() + "\n")
    else:
        print_result(result)
    return 0


def summary(result: ExportResult) -> dict[str, Any]:
    """What `--json` prints: the report's JSON without histories, and where everything is."""
    record = msgspec.json.decode(result.report_json.read_bytes())
    record.pop("training", None)
    return {
        "bundle": str(result.path),
        "digest": result.digest,
        "bytes": record.pop("bundle")["bytes"],
        "report": str(result.report),
        "report_json": str(result.report_json),
        **record,
    }


def _check_usage(args: argparse.Namespace) -> None:
    if (args.recipe is None) == (args.model is None):
        what = (
            "give either a recipe or --model, not both"
            if args.recipe
            else "give a recipe, or --model and --data"
        )
        raise UsageError(what, hint="bedside export --help")
    if args.recipe is not None:
        stray = [option for key, option in _FOREIGN.items() if getattr(args, key) is not None]
        if stray:
            raise UsageError(f"{stray[0]} goes with --model; a recipe says this itself", where=args.recipe)
        return
    for key, option in (("weights", "--weights"), ("data_root", "--data-root"), ("work", "--work")):
        if getattr(args, key) is not None:
            raise UsageError(f"{option} goes with a recipe, not with --model")
    if args.data is None:
        raise UsageError("--model needs --data: class folders or an .npz, for calibration and the gate")


def _recipe(args: argparse.Namespace, steps: Bars) -> ExportResult:
    from bedside.export.recipe_loading import load_recipe, recipe_root

    recipe, digest = load_recipe(args.recipe)
    root = Path(args.data_root) if args.data_root else recipe_root(args.recipe)
    _check_output(args.output)
    _check_installed()
    with steps.step("load TensorFlow"):
        from bedside.export.pipeline import export_recipe
    return export_recipe(
        recipe,
        args.output,
        weights=args.weights,
        work_dir=args.work,
        data_root=root,
        recipe_sha256=digest,
        golden_from_data=args.golden_from_data,
        steps=steps,
    )


def _model(args: argparse.Namespace, steps: Bars) -> ExportResult:
    from bedside.export.adopt.foreign import check_kind, load_keras
    from bedside.export.recipe import InputRecipe

    # All that is cheap to get wrong is looked at before TensorFlow is loaded.
    preprocessing, plan, wanted = _preprocessing(args), _plan(args), _data(Path(args.data), args.labels)
    check_kind(Path(args.model))
    _check_output(args.output)
    _check_installed()
    with steps.step("load TensorFlow"):
        from bedside.export.data.loading import load_data
        from bedside.export.pipeline import export_model
    with steps.step("load model"):
        model = load_keras(args.model, args.modules or ())
    with steps.step("read data") as progress:
        data = load_data(wanted, seed=plan.seed, root=Path.cwd(), progress=progress)
    return export_model(
        model,
        data,
        args.output,
        plan,
        preprocessing=preprocessing,
        size=args.size,
        scores=args.scores,
        input=InputRecipe(
            resize=args.resize or "stretch", interpolation=args.interpolation or "area", color=args.color
        ),
        origin=f"{Path(args.model).name}, made elsewhere",
        steps=steps,
    )


def _plan(args: argparse.Namespace) -> Plan:
    from bedside.export.plan import Plan
    from bedside.export.recipe import GateRecipe, QuantizationRecipe

    stem = args.output.name.removesuffix(".bedside").lower()
    name = args.name or re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64]
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
        raise UsageError(
            f"{name!r} is no bundle name", where="--name", hint="lower case letters, digits, . _ -"
        )
    unknown = [v for v in args.variants or () if v not in VARIANTS]
    if unknown:
        raise UsageError(f"no variant is called {unknown[0]!r}", where="--variants", hint=", ".join(VARIANTS))
    gate = GateRecipe() if args.gate is None else GateRecipe(relative=args.gate, worst_class=args.gate)
    return Plan(
        name=name,
        description=args.description or f"Classifier exported from {Path(args.model).name}.",
        intended_use=args.intended_use or "",
        seed=1 if args.seed is None else args.seed,
        quantization=QuantizationRecipe(variants=tuple(dict.fromkeys(args.variants or VARIANTS))),
        gate=gate,
        golden_from_data=args.golden_from_data,
    )


def _preprocessing(args: argparse.Namespace) -> Preprocessing | None:
    """What the options say of the model's input, None where they say nothing."""
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


def _data(path: Path, labels: tuple[str, ...] | None) -> Any:
    """The kind of data that a path is."""
    from bedside.export.recipe import ClassFoldersData, DicomFoldersData, MedMnistData

    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise UsageError("is a file, expected class folders or an .npz", where=str(path))
        return MedMnistData(path=str(path.resolve()), labels=labels)
    if not path.is_dir():
        raise UsageError("no such file or folder", where=str(path))
    first = next((p for p in sorted(path.rglob("*")) if p.is_file() and not p.name.startswith(".")), None)
    if first is not None and first.suffix.lower() in _DICOM:
        return DicomFoldersData(path=str(path.resolve()), labels=labels)
    return ClassFoldersData(path=str(path.resolve()), labels=labels)


def _check_installed() -> None:
    """Looked for before anything is shown: where it is absent, one line is all there is to say."""
    for name in ("tensorflow", "keras"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed here", where="export", hint=_INSTALL)


def _check_output(out: Path) -> None:
    # Before TensorFlow is loaded: a mistyped path should not cost seconds.
    from bedside.export.writable import check_writable

    check_writable(out)


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None


def _words(text: str) -> tuple[str, ...]:
    words = tuple(part.strip() for part in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"expected words separated by commas, got {text!r}")
    return words


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in pixels, got {text!r}")
    return int(match[1]), int(match[2])


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a percentage from 0 to 100, got {text!r}")
    return value
