"""The starter bundle keeps what its card promises, on frames that it was never trained on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from bedside.devices.compose import PipelineSpec, Stream
from bedside.devices.sinks.memory import ListSink
from bedside.devices.starters import resolve, starter_names
from bedside.runtime import engines
from bedside.runtime.answers import Classification
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.golden import relative_error
from bedside.runtime.loading import open_session
from bedside.runtime.packing import run_samples
from bedside.runtime.stream.ledger import LedgerSnapshot

CLIPS = ["clarius-ocular-short.mp4", "butterfly-ocular-phantom.mp4", "sonosite-anon-eye1-video.mp4"]


def labels(source: str) -> tuple[list[str], LedgerSnapshot]:
    sink = ListSink()
    summary = Stream(PipelineSpec(bundle="modality-cnn", source=source), sinks=[sink]).run()
    assert summary.error is None
    named = [r.result.label for r in sink.results if isinstance(r.result, Classification)]
    return named, summary.ledger


def test_it_ships_and_is_small() -> None:
    assert "modality-cnn" in starter_names()
    assert resolve("modality-cnn").stat().st_size <= 2_000_000


def test_the_echo_cine_is_ultrasound() -> None:
    named, ledger = labels("sample:echo-cine")
    assert (ledger.captured, ledger.processed) == (30, 30)
    assert named.count("ultrasound") >= 28


@pytest.mark.parametrize("clip", CLIPS)
def test_clips_of_other_scanners_are_ultrasound(clip: str, data_root: Path) -> None:
    named, ledger = labels(str(data_root / "ultrasound" / "clips" / clip))
    assert len(named) == ledger.captured
    assert named.count("ultrasound") >= 0.95 * len(named)


@pytest.mark.parametrize("sequence", ["seq3", "seq4"])
def test_held_out_larynx_sequences_are_endoscopy(sequence: str, data_root: Path) -> None:
    named, _ = labels(str(data_root / "endoscopy" / "larynx" / "images" / sequence))
    assert named.count("endoscopy") >= 0.95 * len(named)


@pytest.mark.parametrize("kind", ["blank", "bars", "noise", "document"])
def test_what_is_no_picture_of_a_patient_is_neither(kind: str) -> None:
    named, _ = labels(f"synthetic:{kind}?frames=10&seed=404")
    assert named.count("neither") >= 9


def test_every_variant_holds_its_goldens_on_every_engine_and_any_two_engines_agree() -> None:
    here = [s for s in engines.statuses() if s.available]
    with open_bundle(resolve("modality-cnn")) as bundle:
        bundle.verify_all()
        model = bundle.manifest.main
        samples = bundle.array(model.golden.engine.input)
        for golden in model.golden.variants:
            variant = model.variant(golden.variant)
            assert variant is not None
            answers = {}
            for status in here:
                if variant.format not in status.formats:
                    continue
                options = SessionOptions(threads=2)
                loaded = open_session(bundle, variant=variant.id, engine=status.id, options=options)
                assert loaded.golden.ok
                answers[status.id] = run_samples(loaded.session, samples, variant.outputs)[0]
                loaded.session.close()
            for (one, a), (other, b) in itertools.combinations(answers.items(), 2):
                assert np.isfinite(a).all()
                assert relative_error(a, b) <= golden.tolerance, (variant.id, one, other)
