"""`bedside rollback`: let the previous bundle of a slot run again."""

from __future__ import annotations

import argparse

from bedside.devices.cli.slots import add_slot_arguments, called, opening_of, profile_of, replay_of, say
from bedside.devices.store.installing import rollback
from bedside.devices.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_slot_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check it on this host, put it back, and print what the slot holds."""
    profile = profile_of(args)
    slot = rollback(Store(), args.slot, opening=opening_of(profile), replay=replay_of(profile))
    say(args, slot, f"slot {args.slot}: {called(slot.active)} is active again")
    return 0
