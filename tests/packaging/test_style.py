"""Lint and format, on the files that are there: a linter whose paths match nothing also passes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]


def ruff(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ruff over the repository, with the repository's settings."""
    command = [sys.executable, "-m", "ruff", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_lint_sees_every_module() -> None:
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    modules = {ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}
    seen = {Path(line) for line in ruff("check", "--show-files", ".").stdout.splitlines()}
    assert len(modules) > 100
    assert seen >= modules


def test_lint() -> None:
    done = ruff("check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_format() -> None:
    done = ruff("format", "--check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [("check", "from runtime.errors import BedsideError\n"), ("format", "x = {  'a':1 }\n")],
)
def test_a_lapse_is_seen(tmp_path: Path, command: str, code: str) -> None:
    lapse = tmp_path / "lapse.py"
    lapse.write_text(code, encoding="utf-8")
    settings = ("--no-cache", "--config", str(ROOT / "pyproject.toml"), str(lapse))
    done = ruff(command, *(("--check",) if command == "format" else ()), *settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert command == "format" or "TID251" in done.stdout
