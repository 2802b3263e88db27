"""One environment per peer, made once by `venv` and pip, and remembered by what was asked for."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

#: A heavy wheel over a slow line, in seconds.
INSTALL_S = 1800.0

_HERE = Path(__file__).parent
_COMPLETE = "complete"


class Environment(msgspec.Struct, frozen=True):
    """Where a candidate runs.

    Attributes:
        python: Its interpreter; None where it could not be made.
        reason: Why not.
    """

    python: Path | None
    reason: str = ""


def own() -> Environment:
    """The environment that this command runs in."""
    return Environment(Path(sys.executable))


def environment(requirements: str, cache: Path, folder: Path = _HERE) -> Environment:
    """Make an environment, or find the one that was made before.

    Args:
        requirements: File name of pinned requirements.
        cache: Where environments are kept.
        folder: Where that file is.

    Returns:
        Where to run; or why pip could not install what is asked for.
    """
    wanted = folder / requirements
    name = wanted.stem.removeprefix("requirements-")
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    root = cache / f"{name}-{key}"
    python = root / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if (root / _COMPLETE).is_file():
        return Environment(python)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    log = cache / f"{name}-{key}.log"
    steps = (
        [sys.executable, "-m", "venv", str(root)],
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", str(wanted)],
    )
    with log.open("w", encoding="utf-8") as file:
        for step in steps:
            try:
                done = subprocess.run(
                    step, stdout=file, stderr=subprocess.STDOUT, timeout=INSTALL_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                shutil.rmtree(root, ignore_errors=True)
                return Environment(None, f"cannot be installed: {error}")
            if done.returncode:
                shutil.rmtree(root, ignore_errors=True)
                return Environment(None, f"cannot be installed: {_reason(log)}")
    (root / _COMPLETE).touch()
    return Environment(python)


def _reason(log: Path) -> str:
    """What pip says last about an error, in one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line.strip()]
    return said[-1].removeprefix("ERROR:").strip()[:300] if said else "pip says nothing"
