"""The wheel holds every module and data file of the three packages, byte for byte, and nothing else."""

import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging

PORTIONS = ("runtime", "devices", "export")


def contents(wheel: Path) -> dict[str, bytes]:
    """Members of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def package_files(sources: Path) -> dict[str, bytes]:
    """What the wheel must hold, by the name it has there. Documents and pictures stay behind."""
    return {
        f"bedside/{path.relative_to(sources).as_posix()}": path.read_bytes()
        for portion in PORTIONS
        for path in (sources / portion).rglob("*")
        if path.is_file() and path.suffix not in (".md", ".png") and "__pycache__" not in path.parts
    }


def test_files(distributions: Any) -> None:
    wheel = contents(distributions.wheel)
    expected = package_files(distributions.sources)
    metadata = {name for name in wheel if name.split("/")[0].endswith(".dist-info")}
    assert set(wheel) - metadata == set(expected)
    assert [name for name, content in expected.items() if wheel[name] != content] == []
    assert len([name for name in expected if name.endswith(".py")]) > 60
    for needed in (*(f"bedside/{portion}/py.typed" for portion in PORTIONS), "bedside/devices/cli/main.py"):
        assert needed in expected
    for folder, suffix in (
        ("devices/profiles", "toml"),
        ("export/recipes", "toml"),
        ("devices/starters", "bedside"),
    ):
        assert any(n.startswith(f"bedside/{folder}/") and n.endswith(f".{suffix}") for n in expected), folder
    assert "bedside/__init__.py" not in wheel  # `bedside` is a namespace that others may add to


def test_metadata(distributions: Any) -> None:
    wheel = contents(distributions.wheel)
    (prefix,) = {name.split("/")[0] for name in wheel if ".dist-info/" in name}
    project = tomllib.loads((distributions.sources / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = wheel[f"{prefix}/METADATA"].decode().splitlines()
    assert "License-Expression: Apache-2.0" in metadata
    assert {f"Provides-Extra: {extra}" for extra in project["optional-dependencies"]} <= set(metadata)
    assert f"{prefix}/licenses/LICENSE" in wheel
    assert wheel[f"{prefix}/entry_points.txt"].decode().split() == [
        "[console_scripts]",
        *("bedside", "=", "bedside.devices.cli.main:main"),
    ]
    assert {name.removeprefix(prefix) for name in wheel if name.startswith(prefix)} == {
        *("/METADATA", "/WHEEL", "/RECORD", "/top_level.txt", "/entry_points.txt", "/licenses/LICENSE")
    }


def test_the_sdist_makes_the_same_wheel(distributions: Any) -> None:
    assert distributions.wheel.name == distributions.direct.name
    assert contents(distributions.wheel) == contents(distributions.direct)
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert {name.removeprefix("bedside/") for name in package_files(distributions.sources)} <= names
