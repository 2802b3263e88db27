"""From verdicts to the bundle and its report."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bedside.export.finished import Finished
from bedside.export.gates.goldens import golden_inputs, golden_latents, golden_samples
from bedside.export.gates.marks import evaluation
from bedside.export.reports.card import card
from bedside.export.reports.outcome import EngineCheck, ExportOutcome
from bedside.export.reports.record import Bundled, report_json
from bedside.export.reports.report import report_html
from bedside.export.reports.samples import Shown
from bedside.export.writable import report_paths
from bedside.runtime.bundle import container
from bedside.runtime.bundle.manifest import Manifest, Provenance, Split
from bedside.runtime.bundle.rules import encode
from bedside.runtime.bundle.writer import replacing, write_bundle
from bedside.runtime.packing import BundleDraft, ModelDraft, VariantDraft

#: Models that answer with more numbers than this get fewer golden samples.
_LARGE_OUTPUT = 1 << 15


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


def draft(done: Finished) -> BundleDraft:
    """The bundle before its goldens are recorded."""
    outcome, judged, plan = done.outcome, done.judged, done.plan
    # A file that no engine runs has no tensors that could be recorded; the notes say what happened to it.
    unrecorded = tuple(f"{r.id} {r.refused}" for r in judged.results if r.measured is None)
    variants = tuple(
        VariantDraft(
            id=r.id,
            format=r.format,
            precision=r.precision,
            data=judged.artifacts[r.id].data,
            evaluation=evaluation(r.measured, outcome.reference, r.kept_float, r.speed),
            refused=r.refused,
            ship=r.shipped,
        )
        for r in judged.results
        if r.measured is not None
    )
    latent = outcome.input.latent
    frames = () if latent else golden_inputs(outcome.input, done.data.holdout, plan.golden_from_data)
    samples = golden_latents(latent) if latent else golden_samples(outcome.input)
    if max(math.prod(o.shape[1:]) for o in done.model.reference.outputs) > _LARGE_OUTPUT:
        # Every sample travels with every variant's answer to it.
        frames, samples = frames[:1] + frames[len(frames) - plan.golden_from_data :], samples[-1:]
    model = ModelDraft(
        input=outcome.input,
        outputs=done.model.outputs,
        decode=outcome.decode,
        variants=variants,
        frames=frames,
        samples=samples,
        default=judged.default,
    )
    models: dict[Literal["main", "guard"], ModelDraft] = {"main": model}
    if done.guard is not None:
        models["guard"] = done.guard.draft
    marks = outcome.reference
    metrics = {marks.metric: marks.value, **marks.others}
    if marks.worst is not None:
        metrics[f"worst class {marks.metric}"] = marks.worst[1]
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
        task=outcome.task,
        description=plan.description,
        intended_use=plan.intended_use,
        models=models,
        card=card(outcome),
        provenance=provenance,
        data_source=done.data.sources,
        eval_metrics=metrics,
        authors=plan.authors,
        copyright=plan.copyright,
        licence=plan.licence,
        guard_sees="frame" if done.guard is None else done.guard.sees,
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
