"""`bedside keys new|list|import|export|revoke`: keys that sign bundles, and those that this device trusts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, table
from bedside.devices.trust.keys import (
    new_private,
    parse_public,
    read_key_file,
    save_private,
    save_public,
)
from bedside.devices.trust.logged import Logged
from bedside.devices.trust.passphrase import VARIABLE, passphrase
from bedside.devices.trust.store import TrustStore
from bedside.runtime.errors import UsageError

PRIVATE, PUBLIC = ".key.pem", ".pub.pem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--store",
        metavar="FOLDER",
        type=Path,
        help="the trust store, as [trust] store of a profile names it (default: this user's)",
    )
    common.add_argument("--json", action="store_true", help="print one JSON object")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=what, description=what[0].upper() + what[1:] + ".", parents=[common]
        )

    new = action("new", f"make a key: NAME{PRIVATE}, to keep secret, and NAME{PUBLIC}, for devices")
    new.add_argument("name", metavar="NAME", help="of the files, and of the key")
    new.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=Path(), help="default: here")
    new.add_argument(
        "--passphrase", action="store_true", help=f"encrypt it; asked for, or taken from {VARIABLE}"
    )
    new.add_argument("--trust", action="store_true", help="trust it on this host as well")
    action("list", "show the keys that this device trusts, and those that it no longer does")
    take = action("import", "trust a public key on this device")
    take.add_argument("file", metavar=f"NAME{PUBLIC}", type=Path, help="in PEM")
    take.add_argument("--name", help="what to call it here (default: as the file)")
    give = action("export", "write a trusted key as PEM")
    give.add_argument("key", metavar="KEY", help="name, id, or the beginning of the id")
    give.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="a new file (default: standard output)"
    )
    revoke = action("revoke", "trust a key no more, for good; a whole id also of a key that is not here")
    revoke.add_argument("key", metavar="KEY", help="name, id, or the beginning of the id")
    revoke.add_argument("--reason", default="", metavar="TEXT", help="why, for `bedside keys list`")


def run(args: argparse.Namespace) -> int:
    """Do it, and say what was done."""
    said = _ACTIONS[args.action](args, TrustStore(args.store, audit=Logged()))
    if args.json:
        print_json(said)
    return 0


def _new(args: argparse.Namespace, store: TrustStore) -> dict[str, Any]:
    secret = passphrase(f"passphrase for {args.name}", twice=True) if args.passphrase else None
    if args.name != Path(args.name).name or not args.name:
        raise UsageError(
            f"{args.name!r} is no name for a key", hint="a name without a folder; -o names the folder"
        )
    private, public = args.output / (args.name + PRIVATE), args.output / (args.name + PUBLIC)
    if public.exists():
        raise UsageError("is there already, and keys are never overwritten", where=str(public))
    key = new_private()
    save_private(private, key, secret)
    save_public(public, key.public)
    if args.trust:
        store.add(key.public, args.name)
    if not args.json:
        guarded = "encrypted" if secret is not None else "not encrypted: whoever reads the file can sign"
        print_line(f"key {key.public.id}")
        print_line(f"{private}: private, {guarded}")
        where = f"trusted here, in {store.folder}" if args.trust else "for `bedside keys import` on devices"
        print_line(f"{public}: public, {where}")
    return {"key": key.public.id, "private": str(private), "public": str(public), "trusted": args.trust}


def _list(args: argparse.Namespace, store: TrustStore) -> dict[str, Any]:
    keys, revoked = store.trusted(), store.revocations().values()
    if not args.json:
        rows: list[tuple[object, ...]] = [(k.name, k.id, Text("trusted", "green"), "") for k in keys]
        rows += [(r.name, r.key, Text("revoked", "bold red"), r.reason) for r in revoked]
        if rows:
            console().print(table(f"Keys in {store.folder}", ("name", "id", "state", "reason"), rows))
        else:
            print_line(f"no keys in {store.folder}")
    return {
        "store": str(store.folder),
        "trusted": [{"key": key.id, "name": key.name} for key in keys],
        "revoked": list(revoked),
    }


def _import(args: argparse.Namespace, store: TrustStore) -> dict[str, Any]:
    data, _ = read_key_file(args.file)
    try:
        public = parse_public(data)
    except ValueError as error:
        raise UsageError(str(error), where=str(args.file)) from None
    name = args.name if args.name is not None else args.file.name.removesuffix(PUBLIC).removesuffix(".pem")
    added = store.add(public, name)
    if not args.json:
        print_line(f"{added.name}: trusted from now on, key {added.id}")
    return {"key": added.id, "name": added.name, "store": str(store.folder)}


def _export(args: argparse.Namespace, store: TrustStore) -> dict[str, Any]:
    key = store.get(store.find(args.key))
    if key is None:
        raise UsageError("is not here any more, or never was", where=f"key {args.key[:80]!r}")
    if args.output is not None:
        save_public(args.output, key.public)
    pem = key.public.pem().decode("ascii")
    if not args.json:
        lines = pem.splitlines() if args.output is None else [f"{args.output}: key {key.id}"]
        for line in lines:
            print_line(line)
    return {"key": key.id, "name": key.name, "pem": pem}


def _revoke(args: argparse.Namespace, store: TrustStore) -> dict[str, Any]:
    key = store.find(args.key)
    new = store.revoke(key, args.reason)
    if not args.json:
        print_line(f"key {key}: " + ("trusted no more" if new else "was revoked before; nothing changed"))
    return {"key": key, "new": new, "store": str(store.folder)}


_ACTIONS = {"new": _new, "list": _list, "import": _import, "export": _export, "revoke": _revoke}
