from __future__ import annotations

from pathlib import Path

import pytest

from bedside.devices.tuning.candidates import candidates, default_candidate, thread_counts, usable_cores
from bedside.devices.tuning.ranking import Limits
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines import EngineStatus


@pytest.mark.parametrize(
    ("usable", "more", "expected"),
    [
        (1, (), (1,)),
        (2, (None,), (1, 2)),
        (3, (), (1, 2, 3)),
        (6, (4,), (1, 2, 4, 6)),
        (8, (3, None), (1, 2, 3, 4, 8)),
        (2, (4,), (1, 2, 4)),
    ],
)
def test_thread_counts(usable: int, more: tuple[int | None, ...], expected: tuple[int, ...]) -> None:
    assert thread_counts(usable, *more) == expected


def test_usable_cores() -> None:
    assert usable_cores() >= engines.default_threads() >= 1


@pytest.mark.parametrize(
    ("cores", "limit", "expected"), [(8, None, 8), (8, 2.5, 2), (8, 0.5, 1), (512, None, 64)]
)
def test_usable_cores_are_bounded(
    cores: int, limit: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedside.devices.tuning import candidates as module

    monkeypatch.setattr(module, "physical_cores", lambda: cores)
    monkeypatch.setattr(module, "quota", lambda: limit)
    assert usable_cores() == expected


def test_every_variant_on_every_engine_that_reads_it(tiny_bundle: Path) -> None:
    statuses = (
        EngineStatus("litert", "2.1", None, ("tflite",)),
        EngineStatus("tflite", None, "not installed", ("tflite",)),
        EngineStatus("openvino", "2026.1", None, ("tflite", "onnx"), ("f32", "bf16")),
    )
    with open_bundle(tiny_bundle) as bundle:
        model = bundle.manifest.main
        found = candidates(model, statuses, (1, 2))
    tflite = [v for v in model.shipped if v.format == "tflite"]
    onnx = [v for v in model.shipped if v.format == "onnx"]
    assert len(set(found)) == len(found) == 2 * (3 * len(tflite) + 2 * len(onnx))
    assert {c.engine for c in found} == {"litert", "openvino"}
    assert {c.hint for c in found if c.engine == "litert"} == {None}
    assert {c.hint for c in found if c.engine == "openvino"} == {"f32", "bf16"}
    assert {c.variant for c in found} == {v.id for v in model.shipped}


def test_the_default_is_what_runs_without_a_ranking(tiny_bundle: Path) -> None:
    from bedside.devices.compose import PipelineSpec, limits_of, load

    here = [s for s in engines.statuses() if s.available]
    for preference in [(), *((s.id,) for s in here)]:
        spec = PipelineSpec(bundle=str(tiny_bundle), source="sample:echo-cine", engine_preference=preference)
        with open_bundle(tiny_bundle) as bundle:
            loaded = load(bundle, spec)
            loaded.session.close()
            default = default_candidate(bundle.manifest.main, limits_of(spec))
        assert default is not None
        assert default.variant == loaded.variant.id
        assert default.engine == loaded.session.engine
        assert default.threads == loaded.session.options.threads
        assert default.hint == loaded.session.options.hint


def test_there_may_be_no_default(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle(tiny_bundle) as bundle:
        model = bundle.manifest.main
        assert default_candidate(model, Limits(variant="none-such")) is None
        gone = EngineStatus("any", None, "not installed", ("tflite", "onnx"))
        monkeypatch.setattr(engines, "status", lambda engine: gone)
        assert default_candidate(model, Limits()) is None


def test_a_profile_names_the_default(tiny_bundle: Path) -> None:
    with open_bundle(tiny_bundle) as bundle:
        model = bundle.manifest.main
        default = default_candidate(model, Limits(variant=model.shipped[-1].id, most_threads=1, hint="bf16"))
    assert default is not None
    assert (default.variant, default.threads, default.hint) == (model.shipped[-1].id, 1, "bf16")
