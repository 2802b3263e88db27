"""Fixtures for tests of the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.devices.cli.main import main


class Done(msgspec.Struct, frozen=True):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON object on one line."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n")
        return json.loads(self.out, parse_constant=pytest.fail)

    @property
    def line(self) -> str:
        """Standard error, which has to be one line that a person can read."""
        assert self.err.count("\n") == 1 and self.err.endswith("\n"), self.err
        line = self.err[:-1]
        assert line.isprintable()
        assert "Traceback" not in line
        return line


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `bedside` in this process; what C libraries print counts as its output."""

    def run(*words: object) -> Done:
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, alone in `tmp_path`."""
    return Path(shutil.copy(tiny_bundle, tmp_path / "tiny.bedside"))
