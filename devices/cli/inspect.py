"""`bedside inspect BUNDLE`: what is in it, without loading a model."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from bedside.devices.cli.output import console, print_json, print_line, size, table
from bedside.devices.starters import resolve
from bedside.runtime.bundle.manifest import Model
from bedside.runtime.bundle.reader import Bundle, open_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print it, if every byte of it holds."""
    with open_bundle(resolve(args.bundle)) as bundle:
        # Facts about models and goldens that are damaged would be facts about another file.
        bundle.verify_all()
        if args.json:
            print_json(describe(bundle))
        else:
            _print(bundle)
    return 0


def describe(bundle: Bundle) -> dict[str, Any]:
    """The manifest, and what the file itself says."""
    return {
        "digest": bundle.digest,
        "bytes": bundle.size,
        "signed": bundle.signed,
        "manifest": msgspec.to_builtins(bundle.manifest),
    }


def _print(bundle: Bundle) -> None:
    manifest = bundle.manifest
    out = console()
    signed = (
        "carries signatures, which this version does not judge"
        if bundle.signed
        else "no: protected against accident only"
    )
    facts = [
        ("name", f"{manifest.name} {manifest.version}"),
        ("task", manifest.task),
        ("description", manifest.description),
        ("intended use", manifest.intended_use),
        ("digest", bundle.digest),
        ("size", size(bundle.size)),
        ("signed", signed),
        ("licence", manifest.licence),
        ("needs", f"bedside {manifest.min_runtime} or later"),
        ("created", manifest.provenance.created_utc),
    ]
    out.print(table(str(bundle.path), ("", ""), [f for f in facts if f[1]]))
    for role, model in manifest.models.items():
        _print_model(role, model)
    if manifest.data_source:
        rows = [(d.name, d.licence, d.citation) for d in manifest.data_source]
        out.print(table("Data", ("source", "licence", "citation"), rows))
    if manifest.provenance.splits:
        rows2 = [(s.name, s.samples, s.groups, (s.sha256 or "")[:16]) for s in manifest.provenance.splits]
        out.print(table("Splits", ("split", "samples", "groups", "sha256"), rows2, right=(1, 2)))
    for note in manifest.provenance.notes:
        print_line(f"note: {note}")


def _print_model(role: str, model: Model) -> None:
    spec = model.input
    out = console()
    labels = getattr(model.decode, "labels", ())
    facts = [
        (
            "input",
            f"{spec.width} x {spec.height} {spec.color} {spec.dtype}, {spec.resize}, {spec.interpolation}",
        ),
        ("outputs", ", ".join(model.outputs)),
        ("labels", ", ".join(labels[:12]) + (f", ... {len(labels)} in all" if len(labels) > 12 else "")),
        ("golden", f"{len(model.golden.frames)} captured frames, tolerances below"),
    ]
    out.print(table(f"Model in the role {role}", ("", ""), [f for f in facts if f[1]]))
    tolerance = {g.variant: g.tolerance for g in model.golden.variants}
    rows = []
    for v in model.variants:
        e = v.evaluation
        rows.append(
            (
                v.id + (" (default)" if v.id == model.default else ""),
                v.precision,
                size(v.bytes),
                f"{e.metric} {e.value:.4f}" if e else "",
                f"{e.drop:+.4f}" if e and e.drop is not None else "",
                e.samples if e else "",
                e.worst_class if e else "",
                f"{tolerance[v.id]:.3g}" if v.id in tolerance else "",
                "refused: " + v.refused if v.refused else ("shipped" if v.file else "left out"),
            )
        )
    header = (
        "variant",
        "precision",
        "size",
        "holdout",
        "drop",
        "samples",
        "worst class",
        "tolerance",
        "state",
    )
    out.print(table("Variants", header, rows, right=(2, 4, 5, 7)))
