"""`mypy --strict` on the installed wheel, beside the libraries that have types."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
PORTIONS = ("runtime", "devices", "export")


def mypy(environment: Any, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run mypy with the repository's settings on what is installed in an environment."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict"),
            *("--config-file", str(ROOT / "pyproject.toml")),
            *("--python-executable", str(environment.python)),
            *("--python-version", "3.11"),
            *("--cache-dir", str(environment.home / "mypy")),
            *arguments,
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="session")
def complete(environment: Callable[..., Any]) -> Any:
    """The wheel and all that it imports, as far as it is typed. TensorFlow, Keras and the engines are not."""
    return environment("3.11", beside=("onnx",))


def test_strict(complete: Any, tmp_path: Path) -> None:
    packages = [argument for portion in PORTIONS for argument in ("-p", f"bedside.{portion}")]
    done = mypy(complete, tmp_path, *packages)
    assert done.returncode == 0, done.stdout + done.stderr
    modules = [
        p for portion in PORTIONS for p in (ROOT / portion).rglob("*.py") if "__pycache__" not in p.parts
    ]
    checked = re.search(r"no issues found in (\d+) source files", done.stdout)
    assert checked is not None
    assert int(checked[1]) >= len(modules)


@pytest.mark.parametrize("portion", PORTIONS)
def test_a_mistake_is_seen(complete: Any, tmp_path: Path, portion: str) -> None:
    # In a package without py.typed, or one that mypy cannot find, everything is Any and nothing is wrong.
    lines = {
        "runtime": "from bedside.runtime.errors import BedsideError\nBedsideError(1)\n",
        "devices": "from bedside.devices.cli.main import main\nmain(1)\n",
        "export": "from bedside.export.cli import run\nrun(1)\n",
    }
    (tmp_path / "lapse.py").write_text(lines[portion], encoding="utf-8")
    done = mypy(complete, tmp_path, "lapse.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lapse.py:2: error: Argument 1" in done.stdout
    assert "Found 1 error" in done.stdout


def test_nothing_of_ours_may_be_missing() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["strict"] is True
    assert "ignore_missing_imports" not in settings
    for override in settings["overrides"]:
        assert not any(module.split(".")[0] in ("bedside", "*") for module in override["module"])
