"""Fixtures of the whole suite."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real images, clips and third-party models; see README, "Data for tests"."""
    named = os.environ.get("BEDSIDE_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (root / "README.md").is_file():
        pytest.skip("real data is absent: set BEDSIDE_DATA to its folder")
    return root
