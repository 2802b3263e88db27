"""`bedside activate`: let the candidate of a slot run, on probation."""

from __future__ import annotations

import argparse

from bedside.devices.cli.slots import add_slot_arguments, called, opening_of, profile_of, replay_of, say
from bedside.devices.store.installing import activate
from bedside.devices.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_slot_arguments(parser)
    parser.add_argument(
        "--allow-older", action="store_true", help="take a version that is older than the active one"
    )
    parser.add_argument("--again", action="store_true", help="take one that failed its probation here")


def run(args: argparse.Namespace) -> int:
    """Check it on this host, activate it, and print what the slot holds."""
    profile = profile_of(args)
    slot = activate(
        Store(),
        args.slot,
        opening=opening_of(profile),
        replay=replay_of(profile),
        allow_older=args.allow_older,
        again=args.again,
    )
    back = (
        f"if it fails, {called(slot.previous)} runs again" if slot.previous else "there is none to go back to"
    )
    say(args, slot, f"slot {args.slot}: {called(slot.active)} is active, on probation; {back}")
    return 0
