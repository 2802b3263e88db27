"""`bedside install BUNDLE`: put a bundle into a slot; it does not run before it is activated."""

from __future__ import annotations

import argparse

from bedside.devices.cli.slots import add_slot_arguments, called, opening_of, profile_of, say, sha256_hex
from bedside.devices.store.installing import install
from bedside.devices.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        help="a .bedside file, the name of a starter bundle, or an https:// address",
    )
    add_slot_arguments(parser)
    parser.add_argument(
        "--sha256",
        type=sha256_hex,
        metavar="HEX",
        help="refuse any other: of the file, as sha256sum prints it, or the bundle's digest",
    )
    parser.add_argument(
        "--allow-older", action="store_true", help="take a version that is older than the active one"
    )


def run(args: argparse.Namespace) -> int:
    """Install it, and print what the slot holds."""
    done = install(
        Store(),
        args.bundle,
        args.slot,
        opening=opening_of(profile_of(args)),
        sha256=args.sha256,
        allow_older=args.allow_older,
    )
    what = f"slot {args.slot}: {called(done.ref)} "
    if not done.new:
        line = what + "is there already, nothing to do"
    else:
        line = (
            what
            + f"is the candidate; active is {called(done.slot.active)}. bedside activate --slot {args.slot}"
        )
    say(args, done.slot, line, installed=done.new)
    return 0
