"""`bedside run SESSION.toml`: several streams side by side."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec
from rich.markup import escape
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, progress_console, table
from bedside.devices.cli.run import add_arguments, ledger_line, print_summary
from bedside.devices.sessions import events
from bedside.devices.sessions.loading import Session, load_session, shares_line
from bedside.devices.sessions.summary import session_summary
from bedside.devices.sessions.supervise import run_session
from bedside.runtime.errors import UsageError, printable

#: Options that mean the same for every stream; all others belong into the file.
_SHARED = frozenset({"bundle", "json", "max_frames", "seconds"})


def run(args: argparse.Namespace) -> int:
    """Run the streams and print their summaries.

    Returns:
        0, or the worst of all streams; 130 or 143 when a signal ended it.

    Raises:
        UsageError: The file, or an option that belongs into it.
    """
    _check_options(args)
    session = _limited(load_session(args.bundle), args)
    watch = SessionWatch(session, enabled=sys.stderr.isatty() and not args.json)
    with watch:
        ended = run_session(session, watch.see)
    summary = session_summary(session, ended)
    if args.json:
        print_json(summary)
    else:
        print_session(summary)
    return ended.code


def _check_options(args: argparse.Namespace) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    for name, value in vars(args).items():
        if name not in _SHARED and value != parser.get_default(name):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} cannot be given for a session",
                where=args.bundle,
                hint="write it into the file, under its [[stream]]",
            )


def _limited(session: Session, args: argparse.Namespace) -> Session:
    """The session with the limits of the command line in every stream."""
    given = {
        key: value
        for key, value in (("max_frames", args.max_frames), ("seconds", args.seconds))
        if value is not None
    }
    plans = tuple(
        msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, **given))
        for plan in session.plans
    )
    return msgspec.structs.replace(session, plans=plans)


class SessionWatch:
    """On standard error: a line when a stream begins to give results, one when it fails, and on terminals a
    progress line for each.

    Args:
        session: What runs.
        enabled: Whether there is a terminal.
    """

    def __init__(self, session: Session, enabled: bool) -> None:
        columns = (
            TextColumn("{task.fields[stream]}"),
            TextColumn("{task.completed} frames"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=progress_console(), disable=not enabled, transient=True)
        self._tasks: dict[str, TaskID] = {
            plan.name: self._progress.add_task("", total=plan.spec.max_frames, stream=plan.name)
            for plan in session.plans
        }
        self._openings = [f"{shares_line(session)}", *session.notes]

    def see(self, event: events.Event) -> None:
        """Show what a stream reports."""
        match event:
            case events.Begun():
                self._say(f"{event.stream}: {event.runs}")
            case events.Progress():
                age = "" if event.age_ms is None else f", age {event.age_ms:.1f} ms"
                shown = escape(printable(event.said)) + age
                self._progress.update(self._tasks[event.stream], completed=event.captured, description=shown)
            case events.Stepped():
                self._say(f"{event.stream}: {event.said}")
            case events.Ended():
                if event.error is not None:
                    self._say(f"{event.stream}: {event.error}")
                self._progress.stop_task(self._tasks[event.stream])

    def _say(self, line: str) -> None:
        # What the session as a whole has to say comes with the first line of a stream.
        for text in (*self._openings, line):
            self._progress.console.print(Text(printable(text)), soft_wrap=True)
        self._openings = []

    def __enter__(self) -> SessionWatch:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()


def print_session(summary: dict[str, Any]) -> None:
    """Every stream, then all of them in a table, for people."""
    rows = []
    for stream in summary["streams"]:
        print_line(f"── {stream['stream']} ──")
        if stream["ledger"] is None:
            print_line(stream["error"] or "never began")
        else:
            print_summary(stream)
        rows.append(_row(stream))
    header = ("stream", "captured", "processed", "dropped", "withheld", "failed", "age p50", "p99", "ended")
    console().print(table("Streams (ages in ms)", header, rows, right=range(1, 8)))
    print_line(ledger_line(summary["overall"]))


def _row(stream: dict[str, Any]) -> tuple[object, ...]:
    ended = stream["error"] or "in order"
    ledger = stream["ledger"]
    if ledger is None:
        return (stream["stream"], *("-",) * 7, ended)
    age = stream["latency_ms"]["age"]
    return (
        stream["stream"],
        ledger["captured"],
        ledger["processed"],
        *(sum(ledger[column].values()) for column in ("dropped", "withheld", "failed")),
        *(f"{age[q]:.2f}" if q in age else "-" for q in ("p50", "p99")),
        ended,
    )
