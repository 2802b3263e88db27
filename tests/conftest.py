"""Fixtures of the whole suite."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.runtime.result import SCHEMA, Anchor, Classification, Outcome, Result, Score


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real images, clips and third-party models; see README, "Data for tests"."""
    named = os.environ.get("BEDSIDE_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (root / "README.md").is_file():
        pytest.skip("real data is absent: set BEDSIDE_DATA to its folder")
    return root


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """A plausible result of one frame; any field can be given."""

    def make(seq: int = 0, **fields: Any) -> Result:
        top = (Score(0, "ultrasound", 0.91), Score(1, "endoscopy", 0.06), Score(2, "neither", 0.03))
        result = Result(
            schema=SCHEMA,
            session="5e5510ff",
            stream="main",
            boot="b007",
            anchor=Anchor(1_000, 1_700_000_000_000_000_000),
            seq=seq,
            captured_ns=1_000_000_000 + seq * 33_333_333,
            published_ns=1_008_000_000 + seq * 33_333_333,
            age_ms=8.0,
            pts_ns=None,
            reference=None,
            outcome=Outcome.OK,
            reason=None,
            task="classification",
            result=Classification(label="ultrasound", index=0, score=0.91, top=top),
            bundle="ab12cd34" * 8,
            variant="tflite-int8",
            engine="litert",
            precision="int8",
        )
        return msgspec.structs.replace(result, **fields)

    return make
