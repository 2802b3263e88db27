"""Fixtures of the tests of tuning: rankings without a measurement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bedside.devices.tuning.host import Host
from bedside.devices.tuning.ranking import SCHEMA, Candidate, Measured, Ranking
from bedside.runtime.latency import Percentiles

HOST = Host(
    machine="x86_64",
    system="Linux 6.1",
    cpu="Intel(R) N100",
    features=("avx2", "avx_vnni"),
    physical_cores=4,
    logical_cores=4,
    quota=None,
    engines={"litert": "2.1.0", "openvino": "2026.1.0"},
    bedside="0.2.0",
)

DIGEST = "ab" * 32


def times(p50: float, p95: float | None = None, largest: float | None = None) -> Percentiles:
    """Plausible percentiles around a median, in ms."""
    largest = largest or max(2 * p50, p95 or 0.0)
    return Percentiles(samples=400, mean=p50, min=p50 / 2, max=largest, p50=p50, p90=p95, p95=p95)


@pytest.fixture(scope="session")
def make_measured() -> Callable[..., Measured]:
    """A candidate with its times: median, p95 and its lower bound in ms."""

    def make(
        variant: str, engine: str, threads: int, p50: float, p95: float | None, low: float, **fields: Any
    ) -> Measured:
        made = {"variant": variant, "engine": engine, "threads": threads, "hint": fields.pop("hint", None)}
        measured = Measured(
            candidate=msgspec.convert(made, Candidate),
            paced=times(p50, p95),
            low_ms=low,
            back_to_back=times(p50 * 0.8),
            cpu_ms=p50 * threads,
            memory_bytes=60_000_000,
            golden_error=0.01,
            visits=7,
        )
        return msgspec.structs.replace(measured, **fields)

    return make


@pytest.fixture
def ranking(make_measured: Callable[..., Measured]) -> Ranking:
    """Two variants on two engines with one and two threads."""
    int8_2 = make_measured("tflite-int8", "openvino", 2, 1.0, 1.2, 1.1, hint="f32")
    int8_1 = make_measured("tflite-int8", "litert", 1, 2.0, 2.2, 2.1)
    fp32_2 = make_measured("tflite-fp32", "litert", 2, 3.0, 3.5, 3.2)
    fp32_1 = make_measured("tflite-fp32", "litert", 1, 5.0, 5.5, 5.2)
    return Ranking(
        schema=SCHEMA,
        bundle=DIGEST,
        name="tiny",
        version="1.0.0",
        host=HOST,
        taken_unix_ns=1_795_392_000 * 10**9,
        fps=30.0,
        quick=False,
        default=int8_1.candidate,
        noise=0.05,
        measured=(int8_2, int8_1, fp32_2, fp32_1),
        per_variant={"tflite-int8": int8_2.candidate, "tflite-fp32": fp32_2.candidate},
    )
