"""What `bedside run SESSION.toml --json` ends with."""

from __future__ import annotations

from typing import Any

from bedside.devices.sessions.loading import Session
from bedside.devices.sessions.supervise import SessionEnded

_COLUMNS = ("dropped", "withheld", "failed")


def session_summary(session: Session, ended: SessionEnded) -> dict[str, Any]:
    """Every stream, and all of them together.

    Returns:
        `session`, `isolation`, `code`, `notes`; `streams`: what `bedside run --json` gives for each, with its
        `code`, and nothing but `stream`, `error` and `code` where it never began or broke off; `overall`: the sum
        of the ledgers, how many `streams`, and the names of the `failed_streams`.
    """
    streams = [
        {**(end.summary or {"ledger": None}), "stream": end.stream, "error": end.error, "code": end.code}
        for end in ended.streams
    ]
    return {
        "session": session.name,
        "isolation": session.isolation,
        "code": ended.code,
        "interrupted": ended.interrupted is not None,
        "notes": list(session.notes),
        "streams": streams,
        "overall": {
            **total([stream["ledger"] for stream in streams if stream["ledger"] is not None]),
            "streams": len(streams),
            "failed_streams": [end.stream for end in ended.streams if end.code],
        },
    }


def total(ledgers: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of ledgers, column by column and reason by reason."""
    summed: dict[str, Any] = {
        key: sum(ledger[key] for ledger in ledgers) for key in ("captured", "processed", "in_flight")
    }
    for column in _COLUMNS:
        counts: dict[str, int] = {}
        for ledger in ledgers:
            for reason, count in ledger[column].items():
                counts[reason] = counts.get(reason, 0) + count
        summed[column] = counts
    return summed
