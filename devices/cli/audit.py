"""`bedside audit verify|show`: the log of what was installed, activated, put back and refused here."""

from __future__ import annotations

import argparse
from collections import deque
from typing import Any

import msgspec

from bedside.devices.cli.output import console, print_json, print_line, table
from bedside.devices.cli.run import positive_int
from bedside.devices.cli.slots import sha256_hex
from bedside.devices.store.audit_check import Verdict, verify
from bedside.devices.store.records import Record
from bedside.devices.store.store import Store

_LAST = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("what", choices=("verify", "show"), help="check every record, or print the last ones")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        type=sha256_hex,
        metavar="HASH",
        help="with verify: a head that was noted earlier and has to be in the log; may be repeated",
    )
    parser.add_argument(
        "--last", type=positive_int, default=_LAST, metavar="N", help=f"with show: records (default {_LAST})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check or print.

    Returns:
        0, or 1 when something does not hold.
    """
    return _show(args) if args.what == "show" else _verify(args)


def _verify(args: argparse.Namespace) -> int:
    store = Store()
    verdict = verify(store.audit.folder, anchor=store.state().audit, heads=args.head)
    if args.json:
        print_json(verdict)
    else:
        _print(verdict)
    return 0 if verdict.ok else 1


def _print(verdict: Verdict) -> None:
    for finding in verdict.findings:
        where = (
            f"{finding.file}, line {finding.line}: "
            if finding.line
            else f"{finding.file}: " * bool(finding.file)
        )
        print_line(f"{where}{finding.what}")
    if verdict.more:
        print_line(f"and {verdict.more} more")
    if verdict.torn:
        print_line(
            f"{verdict.torn} bytes at the end are what a power cut left of a record; the next one notes it"
        )
    if verdict.head is None:
        print_line("the log is empty" if verdict.ok else "no record is whole")
        return
    whole = "every record is as it was written" if verdict.ok else "THE LOG WAS CHANGED"
    kept = f"{verdict.records} records from {verdict.first} to {verdict.head.seq} in {verdict.files} files"
    print_line(f"{whole}: {kept}")
    print_line(f"head {verdict.head.seq}: {verdict.head.hash}")
    print_line(
        "records missing at the very end cannot be told from inside: note the head elsewhere, "
        "and give it with --head next time"
    )


def _show(args: argparse.Namespace) -> int:
    records = list(deque(Store().audit.records(), maxlen=args.last))
    if args.json:
        print_json({"records": records})
        return 0
    rows = [(record.seq, record.wall, record.event, _facts(record)) for record in records]
    console().print(table("Audit log", ("", "wall clock", "event", "facts"), rows, right=(0,)))
    return 0


def _facts(record: Record) -> str:
    facts: dict[str, Any] = msgspec.to_builtins(record.facts)
    facts.pop("bedside", None)
    return ", ".join(f"{key} {_short(value)}" for key, value in facts.items())


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
