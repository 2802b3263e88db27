"""`bedside`: subcommands mounted by name, errors as one line, exit codes."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import msgspec

from bedside.runtime import __version__
from bedside.runtime.errors import BedsideError, printable

INTERRUPTED = 130
TERMINATED = 143


class Command(msgspec.Struct, frozen=True):
    """A subcommand: the module that has `add_arguments(parser)` and `run(args)`, imported when it is
    called."""

    module: str
    help: str


COMMANDS = {
    "demo": Command(
        "bedside.devices.cli.demo", "run a starter bundle on a real echo cine, and write a report"
    ),
    "probe": Command(
        "bedside.devices.cli.probe", "say what this host is and which engines and cameras it has"
    ),
    "inspect": Command("bedside.devices.cli.inspect", "show what a bundle is"),
    "verify": Command(
        "bedside.devices.cli.verify",
        "check signatures and every digest, and replay goldens on every engine here",
    ),
    "sign": Command("bedside.devices.cli.sign", "vouch for a bundle with a key"),
    "keys": Command("bedside.devices.cli.keys", "make keys, and say which ones this device trusts"),
    "export": Command(
        "bedside.export.cli", "train or take a Keras model, convert, quantize, gate and pack it"
    ),
    "pack": Command(
        "bedside.devices.cli.pack", "make a bundle of a .tflite or .onnx file somebody else made"
    ),
    "run": Command("bedside.devices.cli.run", "process a frame stream"),
    "generate": Command("bedside.devices.cli.generate", "draw pictures with a generator into a folder"),
    "fit-profile": Command(
        "bedside.devices.cli.fit_profile", "find where the image lies on a scanner's screen, for a profile"
    ),
    "tune": Command(
        "bedside.devices.cli.tune", "find the fastest way to run a bundle on this host, for `run`"
    ),
    "bench": Command("bedside.devices.cli.bench", "measure latency and throughput on this host"),
    "install": Command("bedside.devices.cli.install", "put a bundle into a slot of this device"),
    "activate": Command("bedside.devices.cli.activate", "let the candidate of a slot run, on probation"),
    "rollback": Command("bedside.devices.cli.rollback", "let the previous bundle of a slot run again"),
    "status": Command("bedside.devices.cli.status", "say which bundles the slots hold"),
    "audit": Command("bedside.devices.cli.audit", "verify or show the log of what was done on this device"),
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes options by their full names only: abbreviations would change
    their meaning with every new option."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Exit 2 with one line."""
        self.exit(2, printable(f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)") + "\n")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds the stack, as Ctrl-C does, where this is the thread that may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _top_parser() -> Parser:
    listing = "\n".join(f"  {name:<11} {command.help}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="bedside",
        description="Verified models on live imaging streams. For research use; not a medical device.",
        epilog=f"commands:\n{listing}\n\n`bedside COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bedside {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0; 1 a check or gate failed; 2 usage; 3 bundle; 4 source; 5 engine; 6 sink; 130 Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = "bedside"
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Labels and paths may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _terminable():
            args = _top_parser().parse_args(words[:1])
            name, command = f"bedside {args.command}", COMMANDS[args.command]
            module = importlib.import_module(command.module)
            parser = Parser(prog=name, description=command.help[0].upper() + command.help[1:] + ".")
            module.add_arguments(parser)
            code: int = module.run(parser.parse_args(words[1:]))
            return code
    except BedsideError as error:
        return _say(name, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left (`bedside inspect X | head`): that is not our failure.
        return 0
    finally:
        _let_go_of_stdout()


def _say(name: str, what: str, code: int) -> int:
    with suppress(OSError):  # nobody may be listening
        print(f"{name}: {what}", file=sys.stderr)  # noqa: T201
    return code


def _let_go_of_stdout() -> None:
    """Flush; where that fails, let the interpreter flush into nothing when it exits, instead of failing
    again."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
