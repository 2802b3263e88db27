"""Fixtures of the benchmarks: real bundles, frames of a device's size, and the host in every JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.probe import probe
from bedside.devices.sources import open_source
from bedside.devices.starters import resolve
from bedside.runtime.bundle.reader import Bundle, open_bundle

FULL_HD = "synthetic:ultrasound?size=1920x1080&frames=16"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Describe the host the way `bedside probe` does."""
    machine_info["bedside"] = msgspec.to_builtins(probe())


@pytest.fixture(scope="session")
def starter() -> Path:
    return resolve("modality-cnn")


@pytest.fixture(scope="session")
def bundle(starter: Path) -> Iterator[Bundle]:
    with open_bundle(starter) as opened:
        yield opened


@pytest.fixture(scope="session")
def full_hd() -> list[np.ndarray]:
    """Sixteen 1080p frames in memory, `(1080, 1920, 3) uint8`."""
    source = open_source(FULL_HD)
    source.open()
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame.pixels.copy())
        frame.release()
    source.close()
    return frames
