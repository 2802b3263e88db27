"""`bedside probe`: what this host is, and what it permits."""

from __future__ import annotations

import argparse

from bedside.devices.cli.output import console, print_json
from bedside.devices.probe import probe, render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    report = probe()
    if args.json:
        print_json(report)
    else:
        console().print(render(report))
    return 0
