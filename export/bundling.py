"""From verdicts to the bundle and its report."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bedside.export.convert.artifact import OUTPUT
from bedside.export.data.types import ClassificationData
from bedside.export.gates.evaluate import Holdout, evaluation, run
from bedside.export.gates.goldens import golden_inputs, golden_samples
from bedside.export.plan import Plan
from bedside.export.reports.card import card
from bedside.export.reports.outcome import EngineCheck, ExportOutcome
from bedside.export.reports.record import Bundled, report_json
from bedside.export.reports.report import Shown, report_html
from bedside.export.stages import Judged
from bedside.export.writable import report_paths
from bedside.runtime.bundle import container
from bedside.runtime.bundle.manifest import ClassificationDecode, Manifest, Provenance, Split
from bedside.runtime.bundle.rules import encode
from bedside.runtime.bundle.writer import replacing, write_bundle
from bedside.runtime.packing import BundleDraft, ModelDraft, VariantDraft

#: Holdout frames shown in the report.
_SHOWN = 12


class ExportResult(msgspec.Struct, frozen=True):
    """What an export wrote.

    Attributes:
        path: Of the bundle.
        digest: Of the bundle, hex.
        report: Of the HTML report.
        report_json: Of the JSON report.
        outcome: Everything that was found out.
        engines: Shipped variants on the engines of this host.
    """

    path: Path
    digest: str
    report: Path
    report_json: Path
    outcome: ExportOutcome
    engines: tuple[EngineCheck, ...]


def draft(
    outcome: ExportOutcome, judged: Judged, data: ClassificationData, decode: ClassificationDecode, plan: Plan
) -> BundleDraft:
    """The bundle before its goldens are recorded."""
    # A file that no engine runs has no tensors that could be recorded; the notes say what happened to it.
    recorded = [r for r in judged.results if r.measured is not None]
    unrecorded = tuple(f"{r.id} {r.refused}" for r in judged.results if r.measured is None)
    variants = tuple(
        VariantDraft(
            id=r.id,
            format=r.format,
            precision=r.precision,
            data=judged.artifacts[r.id].data,
            evaluation=evaluation(r.measured, outcome.reference) if r.measured else None,
            refused=r.refused,
            ship=r.shipped,
        )
        for r in recorded
    )
    model = ModelDraft(
        input=outcome.input,
        outputs=(OUTPUT,),
        decode=decode,
        variants=variants,
        frames=golden_inputs(outcome.input, data.holdout, plan.golden_from_data),
        samples=golden_samples(outcome.input),
        default=judged.default,
    )
    marks = outcome.reference
    provenance = Provenance(
        created_utc=outcome.created_utc,
        tools=outcome.tools,
        recipe_sha256=plan.recipe_sha256,
        seed=plan.seed,
        calibration_samples=outcome.calibration_samples,
        splits=tuple(
            Split(name=s.name, samples=s.samples, groups=s.groups, sha256=s.sha256) for s in outcome.splits
        ),
        notes=(*outcome.notes, *unrecorded),
    )
    return BundleDraft(
        name=plan.name,
        version=plan.version,
        task="classification",
        description=plan.description,
        intended_use=plan.intended_use,
        models={"main": model},
        card=card(outcome),
        provenance=provenance,
        data_source=data.sources,
        eval_metrics={"accuracy": marks.accuracy, "worst_class_recall": marks.worst[1]},
        authors=plan.authors,
        copyright=plan.copyright,
        licence=plan.licence,
    )


def frames_to_show(
    judged: Judged, data: ClassificationData, decode: ClassificationDecode, holdout: Holdout
) -> tuple[Shown, ...]:
    """A few frames of the holdout: Keras' worst mistakes, then per class the least sure and the surest."""
    scores, truth = holdout.reference, holdout.truth
    order = np.argsort(scores[np.arange(len(truth)), truth], kind="stable")
    picked = [int(i) for i in order if scores[i].argmax() != truth[i]][: _SHOWN // 2]
    for turn in (order, order[::-1]):
        for label in range(len(decode.labels)):
            own = next((int(i) for i in turn if truth[i] == label and int(i) not in picked), None)
            if own is not None and len(picked) < _SHOWN:
                picked.append(own)
    answers, _, _ = run(judged.artifacts[judged.default], decode, holdout.pixels[picked])
    return tuple(
        Shown(
            key=data.holdout.items[i].key,
            pixels=holdout.pixels[i],
            truth=int(truth[i]),
            keras=tuple(float(p) for p in scores[i]),
            variant=tuple(float(p) for p in answer),
        )
        for i, answer in zip(picked, answers, strict=True)
    )


def write(
    outcome: ExportOutcome,
    checks: Sequence[EngineCheck],
    shown: Sequence[Shown],
    manifest: Manifest,
    members: dict[str, bytes],
    out: Path,
) -> ExportResult:
    """Write bundle and reports, each whole or not at all, and no report without its bundle.

    Raises:
        SinkError: One of them cannot be written.
    """
    page, record = report_paths(out)
    stored, whole = encode(manifest), io.BytesIO()
    container.dump({container.MANIFEST: stored, **members}, whole)
    bundle = Bundled(file=out.name, digest=hashlib.sha256(stored).hexdigest(), bytes=whole.tell())
    told = report_html(outcome, checks, bundle, shown).encode(), report_json(outcome, checks, bundle)
    with replacing(page) as page_file, replacing(record) as record_file:
        page_file.write(told[0])
        record_file.write(told[1])
        digest = write_bundle(out, manifest, members)
    return ExportResult(out, digest, page, record, outcome, tuple(checks))
