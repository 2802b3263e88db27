"""`bedside status`: which bundle is active, previous and candidate in every slot."""

from __future__ import annotations

import argparse

from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, table
from bedside.devices.cli.slots import called, describe
from bedside.devices.store.state import Slot
from bedside.devices.store.store import Store
from bedside.devices.store.transitions import MOST_STARTS

_NONE = "no slot holds a bundle: bedside install BUNDLE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    store = Store()
    slots = dict(sorted(store.state().slots.items()))
    if args.json:
        print_json(
            {"store": str(store.folder), "slots": {name: describe(slot) for name, slot in slots.items()}}
        )
    elif slots:
        rows = [_row(name, slot) for name, slot in slots.items()]
        console().print(table("Slots", ("slot", "active", "state", "previous", "candidate"), rows))
    else:
        print_line(_NONE)
    return 0


def _row(name: str, slot: Slot) -> tuple[str | Text, ...]:
    ahead = called(slot.candidate) if slot.candidate else ""
    if slot.failed is not None and slot.candidate is not None and slot.failed.digest == slot.candidate.digest:
        ahead += f"\nfailed its probation: {slot.failed.why}"
    behind = called(slot.previous) if slot.previous else ""
    return name, called(slot.active), _condition(slot), behind, ahead


def _condition(slot: Slot) -> Text:
    if slot.active is None:
        return Text("nothing runs", "bold red") if slot.failed else Text("")
    if slot.probation is None:
        return Text("ok", "green")
    return Text(f"on probation, started {slot.probation} of {MOST_STARTS} times", "yellow")
