"""`bedside pack MODEL --manifest M.toml -o X.bedside`: somebody else's model file becomes a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from bedside.devices.cli.output import print_json, print_line, size
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.errors import BundleError, RecipeError
from bedside.runtime.packfile import draft_from, read_packfile
from bedside.runtime.packing import build


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="a .tflite or .onnx file")
    parser.add_argument("--manifest", metavar="M.toml", type=Path, required=True, help="what the file is")
    parser.add_argument(
        "-o", "--output", metavar="X.bedside", type=Path, required=True, help="the bundle to write"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Record goldens on this host and write the bundle."""
    packfile = read_packfile(args.manifest)
    draft = draft_from(packfile, args.manifest.parent, args.model)
    try:
        manifest, members = build(draft)
        digest = write_bundle(args.output, manifest, members)
    except BundleError as error:
        # Nothing was damaged: what contradicts the rules of a bundle was written by hand.
        raise RecipeError(error.what, where=str(args.manifest)) from None
    variant = manifest.main.variants[0]
    tolerance = manifest.main.golden.variants[0].tolerance
    if args.json:
        print_json(
            {
                "output": str(args.output),
                "bundle": digest,
                "bytes": args.output.stat().st_size,
                "variant": variant,
                "tolerance": tolerance,
            }
        )
    else:
        written = size(args.output.stat().st_size)
        print_line(
            f"{args.output}: {written}, {variant.id}, golden tolerance {tolerance:.2e}, bundle {digest}"
        )
    return 0
