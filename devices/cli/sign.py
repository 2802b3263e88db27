"""`bedside sign BUNDLE --key PRIVATE.pem`: vouch for a bundle, in place or into another file."""

from __future__ import annotations

import argparse
from pathlib import Path

from bedside.devices.cli.output import print_json, print_line
from bedside.devices.trust.keys import load_private
from bedside.devices.trust.passphrase import VARIABLE, passphrase
from bedside.devices.trust.signing import sign_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a .bedside file")
    parser.add_argument(
        "--key",
        metavar="PRIVATE.pem",
        type=Path,
        required=True,
        help=f"the private key; where it has a passphrase, that is asked for, or taken from {VARIABLE}",
    )
    parser.add_argument(
        "-o", "--output", metavar="X.bedside", type=Path, help="where to write it (default: in place)"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="leave out the signatures that it has (default: they stay, so that a key can be rotated)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Sign, and say who has signed by now."""
    key = load_private(args.key, lambda: passphrase(f"passphrase of {args.key}"))
    signed = sign_bundle(args.bundle, key, output=args.output, replace=args.replace)
    if args.json:
        print_json(
            {
                "output": str(signed.path),
                "bundle": signed.digest,
                "key": signed.key,
                "signers": signed.signers,
                "written": signed.written,
            }
        )
    elif not signed.written:
        print_line(f"{signed.path}: signed by {signed.key[:16]} already; nothing changed")
    else:
        others = [k[:16] for k in signed.signers if k != signed.key]
        also = f", and by {', '.join(others)} before" if others else ""
        print_line(f"{signed.path}: signed by {signed.key[:16]}{also}; bundle {signed.digest}")
    return 0
