"""`bedside verify BUNDLE`: signatures, every digest, and the goldens of every variant on every engine of this
host."""

from __future__ import annotations

import argparse

import msgspec
from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, size, table
from bedside.devices.cli.run import thread_count
from bedside.devices.profiles import TrustSection, load_profile
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import TrustVerdict, open_trusted
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Variant
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import EngineError, printable
from bedside.runtime.loading import open_session


class Check(msgspec.Struct, frozen=True):
    """One variant on one engine.

    Attributes:
        role: Of the model.
        variant: Its id.
        engine: Engine.
        threads: Of the engine.
        ok: Whether its goldens hold here.
        error: Largest relative error of an output; None where it did not get that far.
        pixels: Largest difference of preprocessed golden frames, in input codes.
        tolerance: What the bundle allows.
        reason: Why it failed.
    """

    role: str
    variant: str
    engine: str
    threads: int
    ok: bool
    error: float | None
    pixels: float | None
    tolerance: float
    reason: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="threads of the engine (default: this host's)"
    )
    parser.add_argument(
        "--device", metavar="PROFILE", help="a profile's name or the path of its TOML file: whom it trusts"
    )
    parser.add_argument(
        "--require-signature", action="store_true", help="refuse a bundle that no trusted key has signed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def policy_of(args: argparse.Namespace) -> TrustSection:
    """What the profile requires, or the option."""
    policy = load_profile(args.device).trust if args.device else TrustSection()
    return msgspec.structs.replace(
        policy, require_signature=policy.require_signature or args.require_signature
    )


def run(args: argparse.Namespace) -> int:
    """Check and print.

    Returns:
        0, or 1 when any golden check failed.

    Raises:
        TrustError: It is not signed as it has to be.
    """
    options = SessionOptions(threads=args.threads or engines.default_threads())
    with open_trusted(resolve(args.bundle), policy_of(args)) as (bundle, verdict):
        bundle.verify_all()
        checks = check_all(bundle, options)
        ok = bool(checks) and all(c.ok for c in checks)
        if args.json:
            absent = {s.id: s.reason for s in engines.statuses() if not s.available}
            print_json(
                {
                    "bundle": bundle.digest,
                    "bytes": bundle.size,
                    "signatures": verdict.signatures,
                    "ok": ok,
                    "checks": checks,
                    "absent": absent,
                }
            )
        else:
            _print(bundle, verdict, checks)
    return 0 if ok else 1


def check_all(bundle: Bundle, options: SessionOptions) -> list[Check]:
    """Replay the goldens of every shipped variant on every engine here that reads its format."""
    checks: list[Check] = []
    for role, model in bundle.manifest.models.items():
        tolerance = {g.variant: g.tolerance for g in model.golden.variants}
        for variant in model.shipped:
            readers = [s.id for s in engines.statuses() if s.available and variant.format in s.formats]
            checks += [_check(bundle, role, variant, e, options, tolerance[variant.id]) for e in readers]
    return checks


def _check(
    bundle: Bundle, role: str, variant: Variant, engine: str, options: SessionOptions, tolerance: float
) -> Check:
    common = (role, variant.id, engine, options.threads)
    try:
        loaded = open_session(bundle, role=role, variant=variant.id, engine=engine, options=options)
    except EngineError as error:
        return Check(*common, False, None, None, tolerance, str(error))
    loaded.session.close()
    report = loaded.golden
    return Check(*common, True, report.error, report.pixels, tolerance, None)


def _print(bundle: Bundle, verdict: TrustVerdict, checks: list[Check]) -> None:
    out = console()
    print_line(f"{bundle.path}: {size(bundle.size)}, every digest holds; bundle {bundle.digest}")
    print_line(f"signed: {verdict}")
    rows = [
        (
            c.variant if c.role == "main" else f"{c.role}/{c.variant}",
            c.engine,
            c.threads,
            "" if c.error is None else f"{c.error:.2e}",
            f"{c.tolerance:.2e}",
            "" if c.pixels is None else f"{c.pixels:g}",
            Text("ok", "green") if c.ok else Text(f"FAILED: {printable(c.reason or '')}", "bold red"),
        )
        for c in checks
    ]
    header = ("variant", "engine", "threads", "error", "tolerance", "pixels", "goldens")
    out.print(table("Golden replay on this host", header, rows, right=(2, 3, 4, 5)))
    absent = [s for s in engines.statuses() if not s.available]
    if absent:
        print_line("not checked: " + "; ".join(f"{s.id}: {s.reason}" for s in absent))
