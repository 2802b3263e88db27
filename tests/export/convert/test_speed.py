"""Times of two files in turns; with a clock that is told what an invocation takes."""

from __future__ import annotations

import platform
import threading
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.backend import keras
from bedside.export.convert import speed
from bedside.export.convert.artifact import Artifact
from bedside.export.convert.describe import describe
from bedside.export.convert.onnx import convert_onnx
from bedside.export.convert.tflite import convert_tflite
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.clock import MonotonicClock

L = keras.layers
SPEC = InputSpec(width=32, height=32)


def network(filters: int) -> Any:
    def body(x: Any) -> list[Any]:
        x = L.Rescaling(1 / 255)(x)
        for _ in range(3):
            x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
        return [L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(x))]

    return body


@pytest.fixture(scope="module")
def small(wrap: Any) -> Artifact:
    model: PixelModel = wrap(network(2), (32, 32, 3), ("scores",))
    return describe("tflite-fp32", convert_tflite(model, "fp32"), SPEC)


@pytest.fixture(scope="module")
def large(wrap: Any) -> Artifact:
    model: PixelModel = wrap(network(48), (32, 32, 3), ("scores",))
    return describe("tflite-fp32", convert_tflite(model, "fp32"), SPEC)


def test_what_is_faster_is_told(small: Artifact, large: Artifact) -> None:
    quick = speed.host_speed(small, large, MonotonicClock(), rounds=20)
    slow = speed.host_speed(large, small, MonotonicClock(), rounds=20)
    assert (quick.faster, slow.faster) == (True, False)
    assert quick.threads == 1
    assert 0 < quick.invoke_ms < quick.reference_ms
    assert "litert" in quick.host
    assert platform.node() not in quick.host


def test_a_file_is_not_faster_than_itself_on_an_even_clock(small: Artifact) -> None:
    class Steps:
        """Every reading is later by 10 ms, give or take 3."""

        def __init__(self) -> None:
            self.now, self.rng = 0, np.random.default_rng(2)

        def now_ns(self) -> int:
            self.now += int(10_000_000 + self.rng.normal(0, 3_000_000))
            return self.now

        def unix_ns(self) -> int:
            return self.now

        def sleep_until(self, deadline_ns: int, stop: threading.Event | None = None) -> bool:
            raise AssertionError("a measurement does not wait")

    found = speed.host_speed(small, small, Steps())
    assert found.faster is None
    assert found.invoke_ms == pytest.approx(10, abs=3)


def test_the_interval_covers_the_ratio() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        drift = np.exp(rng.normal(0, 0.5, 24))  # the host's, common to a pair
        times, reference = (drift * np.exp(rng.normal(0, 0.05, 24)) for _ in range(2))
        low, high = speed.ratio_interval(0.9 * times, reference)
        covered += low <= 0.9 <= high
    assert covered >= 182, "a 95 % interval covers about 95 %"


def test_too_few_rounds_and_two_formats_are_refused(small: Artifact, wrap: Any) -> None:
    with pytest.raises(ValueError, match="at least 20"):
        speed.host_speed(small, small, MonotonicClock(), rounds=5)
    model: PixelModel = wrap(network(2), (32, 32, 3), ("scores",))
    other = describe("onnx-fp32", convert_onnx(model, "fp32"), SPEC)
    with pytest.raises(ValueError, match="no files of one format"):
        speed.host_speed(other, small, MonotonicClock())


def test_threads_are_those_of_the_engine(small: Artifact) -> None:
    found = speed.host_speed(small, msgspec.structs.replace(small), MonotonicClock(), threads=2, rounds=20)
    assert found.threads == 2
