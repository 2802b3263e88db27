"""The export report for programs: one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bedside.export.gates.evaluate import Marks
from bedside.export.reports.outcome import SCHEMA, EngineCheck, ExportOutcome, VariantResult


class Bundled(msgspec.Struct, frozen=True):
    """The bundle that was written.

    Attributes:
        file: Its name.
        digest: sha256 of its manifest.
        bytes: Of the file.
    """

    file: str
    digest: str
    bytes: int


def report_json(outcome: ExportOutcome, checks: Sequence[EngineCheck], bundle: Bundled) -> bytes:
    """Everything in the report but the pictures.

    Returns:
        UTF-8, indented.
    """
    content = {
        "schema": SCHEMA,
        "bundle": bundle,
        **msgspec.structs.asdict(outcome),
        "reference": _marks(outcome.reference),
        "variants": [_variant(v, outcome) for v in outcome.variants],
        "engines": [{**msgspec.structs.asdict(c), "passed": c.passed} for c in checks],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def _marks(marks: Marks) -> dict[str, Any]:
    return {
        "samples": marks.samples,
        "correct": marks.correct,
        "accuracy": marks.accuracy,
        "interval_95_wilson": marks.interval,
        "majority": marks.majority,
        "worst_class": {"label": marks.worst[0], "recall": marks.worst[1]},
        "recalls": dict(zip(marks.labels, marks.recalls, strict=True)),
        "counts": dict(zip(marks.labels, marks.counts, strict=True)),
        "confusion": marks.confusion,
    }


def _variant(v: VariantResult, o: ExportOutcome) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": v.id,
        "format": v.format,
        "precision": v.precision,
        "bytes": v.bytes,
        "shipped": v.shipped,
        "refused": v.refused,
    }
    if (m := v.measured) is not None:
        content |= {
            **_marks(m.marks),
            "drop": o.reference.accuracy - m.marks.accuracy,
            "agreement": m.agreement,
            "max_probability_difference": m.difference,
            "engine": m.engine,
            "invoke_p50_ms": m.invoke_ms,
        }
    return content
