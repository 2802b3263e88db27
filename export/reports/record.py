"""The export report for programs: one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bedside.export.gates.marks import Marks
from bedside.export.reports.outcome import SCHEMA, EngineCheck, ExportOutcome, VariantResult
from bedside.export.reports.wording import cost


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
        UTF-8, indented. Numbers that do not exist are null.
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
    worst = marks.worst
    return {
        "metric": marks.metric,
        "value": marks.value,
        "interval_95": marks.interval,
        "interval_method": marks.method,
        "higher_is_better": marks.higher_is_better,
        "samples": marks.samples,
        "baseline": marks.baseline,
        "worst_class": None if worst is None else {"label": worst[0], "value": worst[1]},
        "classes": marks.classes,
        "others": marks.others,
        "confusion": marks.confusion,
        "reliability": [
            dict(zip(("middle", "confidence", "right", "samples"), row, strict=True))
            for row in marks.reliability
        ],
    }


def _variant(v: VariantResult, o: ExportOutcome) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": v.id,
        "format": v.format,
        "precision": v.precision,
        "bytes": v.bytes,
        "shipped": v.shipped,
        "refused": v.refused,
        "kept_float": v.kept_float,
        "layers": v.layers,
        "host_speed": v.speed,
    }
    if (m := v.measured) is not None:
        content |= {
            **_marks(m.marks),
            "drop": cost(o.reference, m.marks),
            "agreement": m.agreement,
            "max_difference": m.difference,
            "engine": m.engine,
            "invoke_p50_ms": m.invoke_ms,
        }
    return content
