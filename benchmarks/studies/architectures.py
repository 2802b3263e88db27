"""Every architecture from recipe to bundle to a stream, and one table of what came of it.

Exports them one after the other into one folder, each by its shipped recipe with a short training, and runs each
bundle on frames with `bedside run`. What is finished is not done again: the same call goes on where it was.

  python benchmarks/studies/architectures.py OUT --data-root FOLDER --markdown export/ARCHITECTURES.md
  python benchmarks/studies/architectures.py OUT --only vit,detr --epochs 0.1

Without data every recipe is trained on drawn frames of its task.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import architectures_table
import msgspec
import support
from architectures_table import Failure, Record, Report

from bedside.export.data.recipe import DataRecipe, SyntheticData
from bedside.export.models.recipe import ModelRecipe, task_of
from bedside.export.recipe import Recipe
from bedside.export.recipe_loading import check_recipe, load_recipe
from bedside.export.writable import report_paths
from bedside.runtime.errors import BedsideError, GateError, SinkError, UsageError

#: Frames that `bedside run` is given.
_FRAMES = 30
_CHILD = "--child"


class Entry(msgspec.Struct, frozen=True):
    """How an architecture is shown.

    Attributes:
        recipe: A shipped one.
        frames: Real frames that the bundle is run on, below the data root.
        epochs: In place of the recipe's, which are for the finished bundle.
        model: Keys of `[model]` in place of the recipe's, to be quick.
    """

    recipe: str
    frames: str
    epochs: int | None = None
    model: dict[str, Any] = {}


_POLYP, _NERVE, _LARYNX = "endoscopy/polyp/images", "ultrasound/nerve/images", "endoscopy/larynx/images/seq4"
ENTRIES: dict[str, Entry] = {
    "cnn": Entry("modality-cnn", _NERVE, epochs=10),
    "alexnet": Entry("alexnet-modality", _POLYP),
    "vgg": Entry("vgg-modality", _NERVE),
    "mobilenet": Entry("mobilenet-modality", _LARYNX),
    "vit": Entry("vit-modality", _POLYP),
    "autoencoder": Entry("colon-autoencoder", _POLYP, epochs=40),
    "dense-autoencoder": Entry("dense-autoencoder", _POLYP),
    "dcgan": Entry("ultrasound-gan", _NERVE, epochs=100),
    "pix2pix": Entry("despeckle-pix2pix", _NERVE),
    "unet": Entry("unet-polyp", _POLYP),
    "deeplab": Entry("deeplab-nerve", _NERVE),
    "light-segmenter": Entry("nerve-segmentation", _NERVE, epochs=25),
    "anchor-free": Entry("polyp-detection", _POLYP, epochs=20, model={"width": 160, "height": 160}),
    "detr": Entry("detr-polyp", _POLYP),
}


def recipe_for(name: str, root: Path | None, scale: float) -> Recipe:
    """The shipped recipe of an architecture, shortened, with every variant in the bundle.

    Args:
        name: Of the architecture.
        root: Of real data; None: drawn frames.
        scale: Of the number of epochs.
    """
    entry = ENTRIES[name]
    recipe = load_recipe(entry.recipe)[0]
    model = msgspec.structs.replace(recipe.model, **entry.model)
    wanted = getattr(model, "initialize", None)
    if wanted is not None and (root is None or not (root / wanted).is_file()):
        model = msgspec.structs.replace(model, initialize=None)
    # The dense one's files have 270 MB together, of which one is enough.
    ship = recipe.quantization.ship if name == "dense-autoencoder" else None
    training = recipe.training
    epochs = max(1, round((entry.epochs or training.epochs) * scale))
    training = msgspec.structs.replace(training, epochs=epochs, warm_up=min(training.warm_up, epochs // 4))
    if root is None:
        augment = msgspec.structs.replace(training.augment, screen_labels=None)
        training = msgspec.structs.replace(training, augment=augment)
    made = msgspec.structs.replace(
        recipe,
        model=model,
        training=training,
        quantization=msgspec.structs.replace(recipe.quantization, ship=ship),
        data=recipe.data if root is not None else drawn_data(recipe, model),
        guard=None,
    )
    check_recipe(made, where=name)
    return made


def drawn_data(recipe: Recipe, model: ModelRecipe) -> DataRecipe:
    """Drawn frames for the recipe's task."""
    task = task_of(model)
    scene = "endoscopy" if "endoscopy" in str(getattr(recipe.data, "path", "")) else "ultrasound"
    match task:
        case "classification":
            return SyntheticData(content="classes", samples=120, calibration=0.15)
        case "segmentation":
            return SyntheticData(content="masks", scene=scene, samples=200)
        case "detection":
            return SyntheticData(content="boxes", scene=scene, samples=200)
        case "translation":
            return SyntheticData(content="despeckle", samples=200)
        case _:
            return SyntheticData(content="frames", scene=scene, samples=200)


def key_of(recipe: Recipe) -> str:
    """What has to be the same for a finished export to count."""
    return hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()


def export_one(name: str, out: Path, root: Path | None, scale: float) -> None:
    """Export one architecture in this process; what a gate says is kept beside it."""
    from bedside.export.pipeline import export_recipe

    recipe = recipe_for(name, root, scale)
    bundle = out / f"{name}.bedside"
    failed = out / f"{name}.failed.json"
    failed.unlink(missing_ok=True)
    with support.watched() as steps:
        try:
            export_recipe(recipe, bundle, data_root=root, steps=steps)
        except GateError as error:
            support.save(failed, Failure(key_of(recipe), str(error)))
            raise
    support.save(out / f"{name}.key.json", key_of(recipe))


def run_one(name: str, out: Path, root: Path | None) -> None:
    """`bedside run` on frames; its summary goes beside the bundle."""
    source = f"synthetic:ultrasound?size=320x240&frames={_FRAMES}"
    if root is not None:
        source = str(root / ENTRIES[name].frames)
    words = [sys.executable, "-m", "bedside.devices.cli.main", "run", str(out / f"{name}.bedside")]
    words += ["--source", source, "--max-frames", str(_FRAMES), "--threads", "1", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GateError(f"bedside run failed: {done.stderr.strip()[-300:]}", where=name)
    support.save(out / f"{name}.run.json", json.loads(done.stdout))


def is_finished(name: str, out: Path, key: str) -> bool:
    """Whether the folder has this very export, or what its gate said."""
    try:
        if (failed := out / f"{name}.failed.json").is_file():
            return msgspec.json.decode(failed.read_bytes(), type=Failure).key == key
        exported = msgspec.json.decode((out / f"{name}.key.json").read_bytes(), type=str) == key
        return exported and (out / f"{name}.run.json").is_file()
    except (OSError, msgspec.DecodeError):
        return False


def collect(names: Sequence[str], out: Path, taken: dict[str, Path]) -> tuple[Record, ...]:
    """What is finished so far."""
    records = []
    for name in names:
        report = taken.get(name) or report_paths(out / f"{name}.bedside")[1]
        failed, ran = out / f"{name}.failed.json", out / f"{name}.run.json"
        if failed.is_file() and name not in taken:
            failure = msgspec.json.decode(failed.read_bytes(), type=Failure)
            records.append(Record(name, ENTRIES[name].recipe, failed=failure.why))
        elif report.is_file():
            records.append(
                Record(
                    name,
                    ENTRIES[name].recipe,
                    report=msgspec.json.decode(report.read_bytes(), type=Report),
                    ran=json.loads(ran.read_text()) if ran.is_file() and name not in taken else None,
                )
            )
    return tuple(records)


def export_all(
    names: Sequence[str], out: Path, root: Path | None, scale: float, taken: dict[str, Path]
) -> list[str]:
    """Export what is not finished, each in a process of its own, which gives its memory back.

    Returns:
        One line for each that failed for another reason than its gate.
    """
    problems = []
    for number, name in enumerate(names, start=1):
        if name in taken:
            continue
        if is_finished(name, out, key_of(recipe_for(name, root, scale))):
            print(f"{name}: finished before", file=sys.stderr)
            continue
        print(f"{name} ({number} of {len(names)})", file=sys.stderr)
        begun = time.monotonic()
        words = [
            sys.executable,
            str(Path(__file__).resolve()),
            str(out),
            _CHILD,
            name,
            "--epochs",
            str(scale),
        ]
        words += [] if root is None else ["--data-root", str(root)]
        done = subprocess.run(words, check=False)
        if done.returncode == GateError.exit_code and (out / f"{name}.failed.json").is_file():
            continue
        if done.returncode != 0:
            problems.append(f"{name}: exit code {done.returncode} after {time.monotonic() - begun:.0f} s")
            continue
        try:
            run_one(name, out, root)
        except BedsideError as error:
            problems.append(str(error))
    return problems


def _taken(texts: Sequence[str]) -> dict[str, Path]:
    taken = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if name not in ENTRIES or not equals or not Path(path).is_file():
            raise UsageError(f"--take {text!r}: write ARCHITECTURE=X.report.json", hint=", ".join(ENTRIES))
        taken[name] = Path(path)
    return taken


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return tuple(ENTRIES)
    names = tuple(text.split(","))
    for name in names:
        if name not in ENTRIES:
            raise UsageError(f"no architecture {name!r}", hint=", ".join(ENTRIES))
    return names


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 100")
    return value


def main() -> None:
    """Read the command line, export, print."""
    parser = support.parser(__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for bundles, reports and states")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(ENTRIES)}")
    parser.add_argument("--epochs", type=_scale, default=1.0, metavar="X", help="times as many (default: 1)")
    parser.add_argument(
        "--take", action="append", default=[], metavar="A=X.report.json", help="use a report made elsewhere"
    )
    parser.add_argument("--table", action="store_true", help="export nothing, show what there is")
    parser.add_argument("--markdown", type=Path, metavar="X.md", help="write the table there")
    parser.add_argument(_CHILD, choices=ENTRIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    root = None if args.data_root is None else args.data_root.resolve()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot be made: {error.strerror}", where=str(args.out)) from None
    if args.child is not None:
        export_one(args.child, args.out, root, args.epochs)
        return
    names, taken = _names(args.only), _taken(args.take)
    problems = [] if args.table else export_all(names, args.out, root, args.epochs, taken)
    records = collect(names, args.out, taken)
    if records:
        support.save(args.out / "architectures.json", architectures_table.summary(records))
    text = architectures_table.page(records)
    if args.markdown is not None:
        args.markdown.write_text(text, encoding="utf-8")
    if args.json:
        support.print_json(architectures_table.summary(records))
    else:
        print(text)
    if problems:
        raise GateError("; ".join(problems), where=str(args.out))


if __name__ == "__main__":
    sys.exit(support.run(main))
