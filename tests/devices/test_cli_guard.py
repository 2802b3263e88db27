"""A bundle with a guard, and one that draws pictures, through the commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.devices import compose
from bedside.devices.compose import PipelineSpec, Stream, load, load_guard
from bedside.runtime import engines
from bedside.runtime.answers import Classification, Generation
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.errors import BedsideError, EngineError
from bedside.runtime.geometry import Rect
from bedside.runtime.packing import BundleDraft, build
from bedside.runtime.result import Result
from bedside.runtime.results_file import read_results

cv2 = pytest.importorskip("cv2")

SOURCE = "synthetic:ultrasound?size=320x240&frames=4"


@pytest.fixture
def guarded(guarded_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(guarded_bundle, tmp_path / "guarded.bedside"))


@pytest.fixture
def generator(generator_draft: BundleDraft, tmp_path: Path) -> Path:
    path = tmp_path / "generator.bedside"
    write_bundle(path, *build(generator_draft))
    return path


@pytest.fixture
def mixed(smooth_frames: Any, tmp_path: Path) -> Path:
    """A folder of six frames: four that the guard knows, then noise and black."""
    folder = tmp_path / "frames"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    pictures = [np.ascontiguousarray(g.pixels[..., ::-1]) for g in smooth_frames]
    for k, picture in enumerate([*pictures, noise, np.zeros_like(noise)]):
        cv2.imwrite(str(folder / f"{k}.png"), picture)
    return folder


def results_of(path: Path) -> list[Result]:
    return list(read_results(path))


def test_frames_beyond_the_threshold_are_withheld(
    cli: Callable[..., Any], guarded: Path, mixed: Path, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    done = cli("run", guarded, "--source", mixed, "--sink", f"jsonl:{results}", "--json")
    assert done.code == 0, done.err
    summary = done.json
    assert summary["ledger"]["processed"] == 4
    assert summary["ledger"]["withheld"] == {"out-of-distribution": 2}
    assert list(summary["latency_ms"]) == ["preprocess", "guard", "invoke", "decode", "age"]
    assert (summary["guard"]["sees"], summary["guard"]["threshold"]) == ("frame", 1.0)
    written = results_of(results)
    assert all(r.guard is not None and r.guard.threshold == 1.0 for r in written)
    for result in written:
        assert result.guard is not None
        inside = result.guard.score <= 1.0
        assert (result.seq < 4) is inside
        assert isinstance(result.result, Classification) is inside


def test_without_a_guard_nothing_is_said_of_one(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    done = cli("run", bundle, "--source", SOURCE, "--sink", f"jsonl:{results}", "--json")
    assert "guard" not in done.json
    assert all(r.guard is None for r in results_of(results))


def test_verify_covers_the_guard(cli: Callable[..., Any], guarded: Path) -> None:
    done = cli("verify", guarded, "--json")
    assert done.code == 0, done.out
    roles = {c["role"] for c in done.json["checks"]}
    assert roles == {"main", "guard"}
    assert all(c["ok"] for c in done.json["checks"])
    done = cli("verify", guarded)
    assert "guard/" in done.out


def test_bench_includes_the_guard(
    cli: Callable[..., Any], guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedside.devices.cli import bench

    def quick(*args: Any, **options: Any) -> Any:
        return real(*args, **{**options, "min_queries": 100})

    real = bench.run_scenario
    monkeypatch.setattr(bench, "run_scenario", quick)
    done = cli("bench", guarded, "--seconds", "0.01", "--json", "--source", SOURCE)
    assert done.code == 0, done.err
    assert list(done.json["latency_ms"]) == ["preprocess", "guard", "invoke", "decode", "total"]
    assert done.json["guard"]["sees"] == "frame"
    done = cli("bench", guarded, "--seconds", "0.01", "--source", SOURCE)
    assert "included" in done.out


@pytest.mark.fault("B11")
@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_guard_whose_goldens_do_not_hold_ends_it_before_a_result(
    command: str, cli: Callable[..., Any], guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def spy(bundle: Any, **options: Any) -> Any:
        if options.get("role") == "guard":
            raise EngineError("goldens do not hold", where="guard")
        opened.append(real(bundle, **options))
        return opened[-1]

    real = compose.open_session
    monkeypatch.setattr(compose, "open_session", spy)
    done = cli(command, guarded, "--source", SOURCE)
    assert done.code == 5
    assert "goldens do not hold" in done.line
    with pytest.raises(BedsideError, match="closed"):
        opened[0].session.invoke()


def test_the_guard_runs_where_the_model_does_unless_it_cannot(guarded: Path) -> None:
    for status in engines.statuses():
        if not status.available:
            continue
        spec = PipelineSpec(bundle=str(guarded), source=SOURCE, engine_preference=(status.id,), threads=1)
        with open_bundle(guarded) as bundle:
            main = load(bundle, spec)
            guard = load_guard(bundle, spec, main)
            assert guard is not None
            told = guard.describe()
            variant = guard.loaded.variant
            wanted = status.id if variant.format in status.formats else None
            wanted = wanted or next(
                e for e in engines.preference(variant.format) if engines.status(e).available
            )
            assert (told["engine"], told["threads"]) == (wanted, 1)
            guard.close()
            main.session.close()


def test_region_and_masks_hold_for_a_guard_that_sees_the_frame(guarded: Path) -> None:
    spec = PipelineSpec(bundle=str(guarded), source=SOURCE, roi=Rect(0, 0, 9, 9), masks=(Rect(1, 1, 2, 2),))
    stream = Stream(spec)
    assert stream.guard is not None
    assert stream.guard._preprocess.roi == spec.roi  # type: ignore[attr-defined]
    assert stream.guard._preprocess.masks == spec.masks  # type: ignore[attr-defined]
    stream.run()
    with pytest.raises(EngineError, match="closed"):
        stream.guard.loaded.session.invoke()


def test_a_generator_draws_a_picture_for_every_frame(
    cli: Callable[..., Any], generator: Path, tmp_path: Path
) -> None:
    done = cli("verify", generator, "--json")
    assert done.code == 0
    assert all(c["pixels"] is None for c in done.json["checks"])
    results = tmp_path / "r.jsonl"
    done = cli("run", generator, "--source", SOURCE, "--sink", f"jsonl:{results}", "--json")
    assert done.code == 0, done.err
    written = [r.result for r in results_of(results)]
    assert all(isinstance(w, Generation) and w.picture is None for w in written)
    assert len({w.mean for w in written if isinstance(w, Generation)}) == 4
