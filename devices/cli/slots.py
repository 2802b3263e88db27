"""What the commands about slots share: their options, the policy of the device, and how a slot is shown."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.cli.output import print_json, print_line
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.store.installing import Opening, Replay
from bedside.devices.store.replaying import replay_goldens
from bedside.devices.store.state import Ref, Slot
from bedside.devices.store.store import DEFAULT_SLOT
from bedside.devices.store.transitions import MOST_STARTS
from bedside.devices.trust import open_trusted
from bedside.runtime.bundle.reader import Bundle


def add_slot_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that changes a slot."""
    parser.add_argument("--slot", default=DEFAULT_SLOT, metavar="NAME", help="default: main")
    parser.add_argument(
        "--device", metavar="PROFILE", help="the device's profile, which says what it demands of a bundle"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def sha256_hex(text: str) -> str:
    """64 hexadecimal digits."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no sha256: 64 hexadecimal digits")
    return text.lower()


def profile_of(args: argparse.Namespace) -> Profile:
    """The profile that was named, or one that demands nothing.

    Raises:
        ProfileError: It is unknown or mistyped.
    """
    return load_profile(args.device) if args.device else Profile(name="none")


def opening_of(profile: Profile) -> Opening:
    """Opens what the profile lets run on this device."""

    @contextmanager
    def opening(path: Path) -> Iterator[Bundle]:
        with open_trusted(path, profile.trust) as (bundle, _):
            yield bundle

    return opening


def replay_of(profile: Profile) -> Replay:
    """Replays the goldens of what would run with the profile."""

    def replay(bundle: Bundle) -> None:
        replay_goldens(bundle, profile)

    return replay


def describe(slot: Slot) -> dict[str, Any]:
    """A slot for scripts: every key is there."""
    return {
        **{name: _plain(getattr(slot, name)) for name in ("active", "previous", "candidate", "failed")},
        "probation": None if slot.probation is None else {"starts": slot.probation, "most": MOST_STARTS},
    }


def called(ref: Ref | None) -> str:
    """A bundle in few words."""
    return "none" if ref is None else f"{ref.name} {ref.version} ({ref.digest[:12]})"


def say(args: argparse.Namespace, slot: Slot, line: str, **more: Any) -> None:
    """What a command did: one line, or one JSON object."""
    if args.json:
        print_json({"slot": args.slot, **describe(slot), **more})
    else:
        print_line(line)


def _plain(value: msgspec.Struct | None) -> Any:
    return None if value is None else msgspec.to_builtins(value)
