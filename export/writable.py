"""Where an export writes, and whether it can, known before anything is trained."""

from __future__ import annotations

import os
from pathlib import Path

from bedside.runtime.errors import SinkError


def check_writable(out: Path) -> None:
    """Refuse an output that cannot be written, before hours of training and not after.

    Raises:
        SinkError: With the folder or file that is in the way.
    """
    for path in (out, *report_paths(out)):
        if path.exists() and not path.is_file():
            raise SinkError("is no regular file", where=str(path), hint="choose another output path")
    folder = out.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".{out.name[:100]}.{os.getpid()}.probe"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        hint = "choose another output path, or check the folder's permissions and free space"
        raise SinkError(f"cannot be written: {error.strerror or error}", where=str(out), hint=hint) from None


def report_paths(out: Path) -> tuple[Path, Path]:
    """Where the reports of a bundle go: HTML, JSON."""
    stem = out.name.removesuffix(".bedside")
    return out.with_name(f"{stem}.report.html"), out.with_name(f"{stem}.report.json")
