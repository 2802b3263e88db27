"""From verdicts to the bundle and its report."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.card import card
from bedside.export.convert.artifact import OUTPUT, Artifact
from bedside.export.data.types import ClassificationData
from bedside.export.evaluate import evaluation, run
from bedside.export.goldens import golden_inputs, golden_samples
from bedside.export.outcome import EngineCheck, ExportOutcome, VariantResult
from bedside.export.plan import Plan
from bedside.export.report import Bundled, Shown, report_html, report_json
from bedside.export.writable import report_paths
from bedside.runtime.bundle.manifest import ClassificationDecode, Manifest, Provenance, Split, encode
from bedside.runtime.bundle.writer import replacing, write_bundle
from bedside.runtime.packing import BundleDraft, ModelDraft, VariantDraft

#: Holdout frames shown in the report: mistakes first, then one of each class.
_SHOWN = 12


def draft(
    outcome: ExportOutcome, judged: Judged, data: ClassificationData, decode: ClassificationDecode, plan: Plan
) -> BundleDraft:
    drafts = []
    for result in judged.results:
        artifact = judged.artifacts.get(result.id)
        if artifact is None or (result.measured is None and result.refused is not None):
            continue  # without tensors that a device reports there is no record; the notes say what happened
        drafts.append(
            VariantDraft(
                id=result.id,
                format=result.format,
                precision=result.precision,
                data=artifact.data,
                evaluation=evaluation(result.measured, outcome.reference) if result.measured else None,
                refused=result.refused,
                ship=result.shipped,
            )
        )
    unrecorded = [
        f"{r.id} {r.refused}" for r in judged.results if r.measured is None and r.refused is not None
    ]
    marks = outcome.reference
    model = ModelDraft(
        input=outcome.input,
        outputs=(OUTPUT,),
        decode=decode,
        variants=tuple(drafts),
        frames=golden_inputs(data.holdout, plan.golden_from_data),
        samples=golden_samples(outcome.input),
        default=judged.default,
    )
    return BundleDraft(
        name=plan.name,
        version=plan.version,
        task="classification",
        description=plan.description,
        intended_use=plan.intended_use,
        models={"main": model},
        card=card(outcome),
        provenance=Provenance(
            created_utc=outcome.created_utc,
            tools=outcome.tools,
            recipe_sha256=plan.recipe_sha256,
            seed=plan.seed,
            calibration_samples=outcome.calibration_samples,
            splits=tuple(Split(name=s.name, samples=s.samples, groups=s.groups, sha256=s.sha256) for s in outcome.splits),
            notes=(*outcome.notes, *unrecorded),
        ),
        data_source=data.sources,
        eval_metrics={"accuracy": marks.accuracy, "worst_class_recall": marks.worst[1]},
        authors=plan.authors,
        copyright=plan.copyright,
        licence=plan.licence,
    )


def write(
    outcome: ExportOutcome,
    checks: tuple[EngineCheck, ...],
    shown: tuple[Shown, ...],
    manifest: Manifest,
    members: dict[str, bytes],
    out: Path,
) -> ExportResult:
    """Bundle and reports, each whole or not at all, and no report without its bundle."""
    page, record = report_paths(out)
    digest = hashlib.sha256(encode(manifest)).hexdigest()
    with replacing(page) as page_file, replacing(record) as record_file:
        write_bundle(out, manifest, members)
        bundle = Bundled(file=out.name, digest=digest, bytes=out.stat().st_size)
        page_file.write(report_html(outcome, checks, bundle, shown).encode())
        record_file.write(report_json(outcome, checks, bundle))
    return ExportResult(out, digest, page, record, outcome, checks)


def frames_to_show(
    outcome: ExportOutcome,
    judged: Judged,
    data: ClassificationData,
    decode: ClassificationDecode,
    holdout: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.float32]],
) -> tuple[Shown, ...]:
    """A few frames: where Keras is wrong first, then the least sure of every class, then the surest."""
    pixels, truth, scores = holdout
    sure = scores[np.arange(len(truth)), truth]
    order = np.argsort(sure, kind="stable")
    picked = [int(i) for i in order if scores[i].argmax() != truth[i]][: _SHOWN // 2]
    for turn in (order, order[::-1]):
        for label in range(len(outcome.labels)):
            own = [int(i) for i in turn if truth[i] == label and int(i) not in picked]
            if own and len(picked) < _SHOWN:
                picked.append(own[0])
    answers, _, _ = run(judged.artifacts[outcome.default], decode, pixels[picked])
    return tuple(
        Shown(
            key=data.holdout.items[i].key,
            pixels=pixels[i],
            truth=int(truth[i]),
            keras=tuple(float(p) for p in scores[i]),
            variant=tuple(float(p) for p in answer),
        )
        for i, answer in zip(picked, answers, strict=True)
    )


