"""`bedside export`: from a recipe, or from somebody's Keras model. Importable without TensorFlow."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bedside.export import cli_model
from bedside.export.terminal import Bars, print_folds, print_result, progress_bars
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError

if TYPE_CHECKING:
    from bedside.export.bundling import ExportResult
    from bedside.export.cross_validation import FoldsResult

_INSTALL = 'pip install "bedside[export]"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `bedside export`."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a recipe (.toml), or the name of a shipped one"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="X.bedside", help="the bundle to write (--folds: a .json)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--golden-from-data",
        type=int,
        default=0,
        metavar="N",
        help="put N real holdout frames into the bundle as golden frames (default: none, drawn ones only)",
    )
    parser.add_argument(
        "--help-outputs",
        choices=cli_model.TASKS,
        metavar="TASK",
        help="say what the outputs of a model must look like, and do nothing",
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
    recipe.add_argument(
        "--folds", type=int, metavar="K", help="train and gate K times, each with another fold held out"
    )
    recipe.add_argument(
        "--epochs", type=int, metavar="N", help="train that many epochs at most, whatever the recipe says"
    )
    recipe.add_argument(
        "--show-augmentation",
        type=Path,
        metavar="X.png",
        help="draw training frames beside varied copies, with what is to be learned from them, and do nothing else",
    )
    cli_model.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and print what came of it.

    Returns:
        0. Everything else is an error.

    Raises:
        BedsideError: See `bedside.export.pipeline`.
    """
    if args.help_outputs is not None:
        from bedside.export.adopt.contracts import requirements

        sys.stdout.write(requirements(args.help_outputs) + "\n")
        return 0
    _check_usage(args)
    if args.show_augmentation is not None:
        _show_augmentation(args)
        return 0
    with progress_bars() as steps:
        try:
            result = _recipe(args, steps) if args.recipe is not None else _model(args, steps)
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed here", where="export", hint=_INSTALL) from None
    if result is None:  # one of several workers, and not the one that writes
        return 0
    if args.folds is not None:
        from bedside.export.cross_validation import FoldsResult

        assert isinstance(result, FoldsResult)
        if args.json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        else:
            print_folds(result)
        return 0
    if TYPE_CHECKING:
        assert isinstance(result, ExportResult)
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
    if args.output is None and args.show_augmentation is None:
        raise UsageError("say where the bundle goes: -o X.bedside")
    if args.recipe is not None:
        # A stricter gate, another guard and fewer variants may be asked of any recipe; all else it says itself.
        stray = [
            option
            for key, option in cli_model.FOREIGN.items()
            if key not in ("gate", "guard", "variants") and getattr(args, key) is not None
        ]
        if stray:
            raise UsageError(f"{stray[0]} goes with --model; a recipe says this itself", where=args.recipe)
        return
    for key, option in (
        ("weights", "--weights"),
        ("data_root", "--data-root"),
        ("work", "--work"),
        ("folds", "--folds"),
        ("epochs", "--epochs"),
        ("show_augmentation", "--show-augmentation"),
    ):
        if getattr(args, key) is not None:
            raise UsageError(f"{option} goes with a recipe, not with --model")
    if args.data is None:
        raise UsageError("--model needs --data, for calibration and the gate", hint="bedside export --help")


def _recipe(args: argparse.Namespace, steps: Bars) -> ExportResult | FoldsResult | None:
    from bedside.export.recipe_loading import load_recipe, recipe_root, with_epochs, with_variants

    asked, digest = load_recipe(args.recipe)
    recipe = asked
    if args.gate is not None:
        gate = msgspec.structs.replace(recipe.gate, relative=args.gate, worst_class=args.gate)
        recipe = msgspec.structs.replace(recipe, gate=gate)
    if args.epochs is not None:
        recipe = with_epochs(recipe, args.epochs)
    if args.variants is not None:
        recipe = with_variants(recipe, cli_model.variants_asked(args.variants))
    if args.guard is not None:
        from bedside.export.recipe import GuardRecipe

        recipe = msgspec.structs.replace(recipe, guard=GuardRecipe(bundle=args.guard))
    root = Path(args.data_root) if args.data_root else recipe_root(args.recipe)
    _check_output(args.output)
    _check_installed()
    with steps.step("load TensorFlow"):
        from bedside.export.cross_validation import cross_validate
        from bedside.export.pipeline import export_recipe
    if args.folds is not None:
        return cross_validate(
            recipe, args.folds, args.output, work_dir=args.work, data_root=root, steps=steps
        )
    return export_recipe(
        recipe,
        args.output,
        weights=args.weights,
        work_dir=args.work,
        data_root=root,
        # What was asked for on the command line is part of what the bundle was made by.
        recipe_sha256=digest if recipe == asked else hashlib.sha256(msgspec.json.encode(recipe)).hexdigest(),
        golden_from_data=args.golden_from_data,
        steps=steps,
    )


def _show_augmentation(args: argparse.Namespace) -> None:
    from bedside.export.recipe_loading import load_recipe, recipe_root

    recipe, _ = load_recipe(args.recipe)
    root = Path(args.data_root) if args.data_root else recipe_root(args.recipe)
    _check_output(args.show_augmentation)
    _check_installed()
    with progress_bars() as steps:
        with steps.step("load TensorFlow"):
            from bedside.export.training.contact_sheet import augmentation_sheet, write_sheet
        sheet = augmentation_sheet(recipe, root=root, steps=steps)
        write_sheet(args.show_augmentation, sheet)


def _model(args: argparse.Namespace, steps: Bars) -> ExportResult:
    from bedside.export.adopt.foreign import check_kind, load_keras

    # All that is cheap to get wrong is looked at before TensorFlow is loaded.
    task: Task = args.task or "classification"
    preprocessing, plan = cli_model.preprocessing(args), cli_model.plan(args)
    options, wanted = cli_model.adopt_options(args), cli_model.data_recipe(Path(args.data), task, args.labels)
    cli_model.check_task(wanted, task, args.data)
    check_kind(Path(args.model))
    _check_output(args.output)
    _check_installed()
    with steps.step("load TensorFlow"):
        from bedside.export.data.loading import load_data
        from bedside.export.pipeline import export_model
    with steps.step("load model"):
        model = load_keras(args.model, args.modules or ())
    with steps.step("read data") as progress:
        # Where the paths of a .toml start, as those of a recipe do; every other path is absolute.
        root = Path(args.data).resolve().parent
        data = load_data(wanted, seed=plan.seed, root=root, progress=progress)
    return export_model(
        model,
        data,
        args.output,
        plan,
        task=task,
        preprocessing=preprocessing,
        size=args.size,
        options=options,
        input=cli_model.input_recipe(args),
        origin=f"{Path(args.model).name}, made elsewhere",
        steps=steps,
    )


def _check_installed() -> None:
    """Looked for before anything is shown: where it is absent, one line is all there is to say."""
    for name in ("tensorflow", "keras"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed here", where="export", hint=_INSTALL)


def _check_output(out: Path) -> None:
    # Before TensorFlow is loaded: a mistyped path should not cost seconds.
    from bedside.export.writable import check_writable

    check_writable(out)
