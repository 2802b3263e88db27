"""`bedside inspect BUNDLE`: what is in it, without loading a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bedside.devices.cli.output import console, print_json, print_line, size, table
from bedside.devices.profiles import TrustSection, load_profile
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import TrustVerdict, judge, store_of
from bedside.runtime.bundle.manifest import Model
from bedside.runtime.bundle.reader import Bundle, open_bundle

_GUARD = {
    "frame": "its own model sees every captured frame",
    "input": "its own model sees what the main model is given",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    parser.add_argument(
        "--device", metavar="PROFILE", help="a profile's name or the path of its TOML file: whom it trusts"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print it, if every byte of it holds."""
    with open_bundle(resolve(args.bundle)) as bundle:
        # Facts about models and goldens that are damaged would be facts about another file.
        bundle.verify_all()
        policy = load_profile(args.device).trust if args.device else TrustSection()
        verdict = judge(bundle.digest, bundle.signatures, policy, store_of(policy))
        if args.json:
            print_json(describe(bundle, verdict))
        else:
            _print(bundle, verdict)
    return 0


def describe(bundle: Bundle, verdict: TrustVerdict) -> dict[str, Any]:
    """The manifest, what the file itself says, and who vouches for it."""
    return {
        "digest": bundle.digest,
        "bytes": bundle.size,
        "signed": bundle.signed,
        "signatures": verdict.signatures,
        "refused": verdict.refused,
        "manifest": msgspec.to_builtins(bundle.manifest),
    }


def _print(bundle: Bundle, verdict: TrustVerdict) -> None:
    manifest = bundle.manifest
    out = console()
    facts = [
        ("name", f"{manifest.name} {manifest.version}"),
        ("task", manifest.task),
        ("description", manifest.description),
        ("intended use", manifest.intended_use),
        ("digest", bundle.digest),
        ("size", size(bundle.size)),
        ("signed", str(verdict)),
        ("refused here", verdict.refused or ""),
        ("guard", _GUARD[manifest.guard_sees] if "guard" in manifest.models else ""),
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
    size_in = f"{spec.width} x {spec.height} {spec.color}"
    taken = f"{size_in} {spec.dtype}, {spec.resize}, {spec.interpolation}"
    if spec.latent is not None:
        taken = f"{spec.latent} random numbers, for a picture of {size_in}"
    facts = [
        ("input", taken),
        ("outputs", ", ".join(model.outputs)),
        ("labels", ", ".join(labels[:12]) + (f", ... {len(labels)} in all" if len(labels) > 12 else "")),
        (
            "decoding",
            ", ".join(f"{key} {value}" for key, value in _settings(msgspec.to_builtins(model.decode))),
        ),
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
    for v in model.variants:
        if v.evaluation is not None and v.evaluation.kept_float:
            print_line(f"{v.id}: {len(v.evaluation.kept_float)} layers kept in float")


def _settings(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """What a bundle says of its decoding, beyond the defaults: keys as they are written, and values."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{above}{key}.")
        elif key not in ("labels", "task"):
            shown = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in _listed(value)]
            yield above + key, " ".join(shown)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else (value,)
