"""`bedside run` and `bedside bench`: what they print and write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.cli import run as run_command
from bedside.devices.compose import PipelineSpec, Stream
from bedside.runtime import engines
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import BedsideError, UsageError
from bedside.runtime.geometry import Rect

SOURCE = "synthetic:ultrasound?frames=40&size=320x240"
STAGES = {"preprocess", "invoke", "decode", "age"}

#: What the issue promises of every line of results.jsonl, and of the object that `run --json` ends with.
RESULT_FIELDS = {
    *("schema", "session", "stream", "seq", "captured_ns", "age_ms", "outcome", "reason"),
    *("task", "result", "bundle", "variant", "engine", "precision"),
}
SUMMARY_FIELDS = {"ledger", "latency_ms", "bundle", "variant", "engine", "fps", "samples"}


def lines(path: Path) -> list[dict[str, Any]]:
    """The file's results; every line has to be whole."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def balanced(ledger: dict[str, Any]) -> bool:
    lost = sum(sum(ledger[column].values()) for column in ("dropped", "withheld", "failed"))
    return bool(ledger["captured"] == ledger["processed"] + lost + ledger["in_flight"])


def test_a_run_writes_every_result_and_ends_with_one_object(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "results.jsonl"
    done = cli("run", bundle, "--source", SOURCE, "--sink", f"jsonl:{out}", "--json")
    assert done.code == 0
    summary = done.json
    assert summary.keys() >= SUMMARY_FIELDS
    assert summary["ledger"] == {
        **{"captured": 40, "processed": 40, "in_flight": 0},
        **{"dropped": {}, "withheld": {}, "failed": {}},
    }
    assert summary["latency_ms"].keys() == STAGES
    assert all(stage["samples"] == 40 and stage["p50"] >= 0 for stage in summary["latency_ms"].values())
    assert not any("p99" in stage for stage in summary["latency_ms"].values()), "40 samples carry no p99"
    assert summary["samples"] == 40
    assert summary["fps"] > 0
    assert summary["error"] is None
    with open_bundle(bundle) as opened:
        assert summary["bundle"] == opened.digest
    results = lines(out)
    assert [r["seq"] for r in results] == list(range(40))
    for result in results:
        assert result.keys() >= RESULT_FIELDS
        assert result["outcome"] == "ok"
        assert result["reason"] is None
        assert result["age_ms"] == pytest.approx((result["published_ns"] - result["captured_ns"]) / 1e6)
        assert result["result"]["label"] in ("liver", "kidney", "heart", "colon", "other")
        for key in ("bundle", "variant", "engine", "precision"):
            assert result[key] == summary[key]
    assert len({r["session"] for r in results}) == 1
    # What runs, and that nobody measured it, is said once, and not where the JSON is.
    assert "by default, not by measurement" in done.line


def test_a_run_for_people(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    done = cli(
        "run", bundle, "--source", SOURCE, "--sink", f"jsonl:{tmp_path / 'r.jsonl'}", "--sink", "null:"
    )
    assert done.code == 0
    assert "40 captured = 40 processed" in done.out
    assert "r.jsonl: 40 results" in done.out
    assert "null:: 40 results" in done.out
    assert "too few samples" in done.out


@pytest.mark.parametrize("policy", ["latest", "all"])
@pytest.mark.parametrize("paced", [False, True])
def test_the_ledger_balances(
    policy: str, paced: bool, cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    source = "synthetic:ultrasound?frames=30&fps=200&size=320x240"
    pace = ["--paced"] if paced else []
    out = tmp_path / "r.jsonl"
    done = cli(
        "run", bundle, "--source", source, "--policy", policy, *pace, "--sink", f"jsonl:{out}", "--json"
    )
    assert done.code == 0
    summary = done.json
    ledger = summary["ledger"]
    assert balanced(ledger)
    assert (ledger["captured"], ledger["in_flight"]) == (30, 0)
    assert summary["source"]["live"] is paced
    if policy == "all":
        assert ledger["processed"] == 30
    assert len(lines(out)) == ledger["processed"] + sum(ledger["withheld"].values())


def test_max_frames(cli: Callable[..., Any], bundle: Path) -> None:
    done = cli("run", bundle, "--source", SOURCE, "--max-frames", 7, "--json")
    assert done.json["ledger"]["captured"] == 7


def test_seconds_end_an_endless_source(cli: Callable[..., Any], bundle: Path) -> None:
    source = "synthetic:ultrasound?size=320x240&fps=100"
    done = cli("run", bundle, "--source", source, "--paced", "--seconds", "0.3", "--json")
    assert done.code == 0
    ledger = done.json["ledger"]
    assert balanced(ledger)
    assert 0 < ledger["captured"] <= 31


def test_smoothing_is_named(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    cli("run", bundle, "--source", SOURCE, "--smoothing", "0.25", "--sink", f"jsonl:{out}")
    smoothing = [r["result"]["smoothing"] for r in lines(out)]
    assert all(s["alpha"] == 0.25 for s in smoothing)
    assert [s["frames"] for s in smoothing] == list(range(1, 41))


def test_what_was_asked_for_runs(cli: Callable[..., Any], bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        variants = {v.id: v.format for v in opened.manifest.main.shipped}
    for variant, fmt in variants.items():
        engine = [s.id for s in engines.statuses() if s.available and fmt in s.formats][-1]
        done = cli(
            *("run", bundle, "--source", SOURCE, "--max-frames", 2, "--json"),
            *("--variant", variant, "--engine", engine, "--threads", 1),
        )
        summary = done.json
        assert (summary["variant"], summary["engine"], summary["threads"]) == (variant, engine, 1)
        assert "as asked" in done.line


def test_the_echo_cine_runs(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    done = cli("run", bundle, "--source", "sample:echo-cine", "--sink", f"jsonl:{out}", "--json")
    ledger = done.json["ledger"]
    assert (ledger["captured"], ledger["processed"]) == (30, 30)
    assert [r["reference"]["frame_index"] for r in lines(out)] == list(range(30))
    assert len({r["reference"]["sop_instance_uid"] for r in lines(out)}) == 1


def test_a_profile_is_obeyed(cli: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    profile = tmp_path / "device.toml"
    profile.write_text(
        f"""
        name = "device"
        [capture]
        source = "{SOURCE}"
        policy = "all"
        [screen]
        roi = [10, 20, 200, 100]
        [engine]
        threads = 1
        variant = "tflite-int8"
        [task]
        top_k = 2
        smoothing = 0.5
        """
    )
    out = tmp_path / "r.jsonl"
    done = cli("run", bundle, "--device", profile, "--sink", f"jsonl:{out}", "--json")
    assert done.code == 0
    assert (done.json["variant"], done.json["threads"]) == ("tflite-int8", 1)
    assert all(len(r["result"]["top"]) == 2 and r["result"]["smoothing"]["alpha"] == 0.5 for r in lines(out))
    done = cli("run", bundle, "--device", profile, "--variant", "tflite-fp32", "--max-frames", 1, "--json")
    assert done.json["variant"] == "tflite-fp32", "options go before the profile"


def test_everything_in_a_profile_reaches_the_run(tmp_path: Path) -> None:
    profile = tmp_path / "device.toml"
    profile.write_text(
        """
        name = "device"
        [capture]
        source = "camera:0"
        width = 1920
        height = 1080
        fps = 60.0
        fourcc = "MJPG"
        buffers = 2
        adopt_size = true
        policy = "latest"
        [screen]
        roi = [1, 2, 300, 400]
        masks = [[0, 0, 10, 10]]
        [budget]
        max_age_ms = 80.0
        [engine]
        preference = ["openvino", "litert"]
        threads = 3
        variant = "v"
        hint = "bf16"
        [task]
        top_k = 5
        smoothing = 0.5
        """
    )
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    spec = run_command.spec_from(parser.parse_args(["b.bedside", "--device", str(profile)]))
    capture = spec.capture
    assert (capture.width, capture.height, capture.fps, capture.fourcc, capture.buffers) == (
        1920,
        1080,
        60.0,
        "MJPG",
        2,
    )
    assert capture.adopt_size
    assert (spec.source, spec.policy, spec.max_age_ms) == ("camera:0", "latest", 80.0)
    assert (spec.roi, spec.masks) == (Rect(1, 2, 300, 400), (Rect(0, 0, 10, 10),))
    assert spec.engine_preference == ("openvino", "litert")
    assert (spec.threads, spec.variant, spec.hint) == (3, "v", "bf16")
    assert (spec.top_k, spec.smoothing) == (5, 0.5)


def test_a_stale_result_is_withheld_on_a_live_stream(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "device.toml"
    profile.write_text('name = "device"\n[budget]\nmax_age_ms = 0.000001\n')
    out = tmp_path / "r.jsonl"
    source = "synthetic:ultrasound?frames=10&fps=200&size=320x240"
    sink = f"jsonl:{out}"
    done = cli("run", bundle, "--device", profile, "--source", source, "--paced", "--sink", sink, "--json")
    ledger = done.json["ledger"]
    assert ledger["processed"] == 0
    assert balanced(ledger)
    withheld = lines(out)
    assert len(withheld) == ledger["withheld"]["stale"] > 0
    assert all((r["outcome"], r["reason"], r["result"]) == ("withheld", "stale", None) for r in withheld)


def test_a_stream_that_cannot_be_built_leaves_no_session_open(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def spy(bundle: Any, *, variant: Any, engine: Any, options: SessionOptions) -> Any:
        loaded = real(bundle, variant=variant, engine=engine, options=options)
        opened.append(loaded.session)
        return loaded

    import bedside.devices.compose as compose

    real = compose.open_session
    monkeypatch.setattr(compose, "open_session", spy)
    with pytest.raises(UsageError):
        Stream(PipelineSpec(bundle=str(bundle), source=SOURCE, smoothing=2.0))
    with pytest.raises(BedsideError):
        opened[0].invoke()


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_bench(scenario: str, cli: Callable[..., Any], bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bedside.devices.cli import bench

    def quick(*args: Any, **options: Any) -> Any:
        return real(*args, **{**options, "min_queries": 200})

    real = bench.run_scenario
    monkeypatch.setattr(bench, "run_scenario", quick)
    done = cli(
        *("bench", bundle, "--scenario", scenario, "--seconds", "0.01", "--json"),
        *("--source", "synthetic:ultrasound?size=320x240&frames=4"),
    )
    assert done.code == 0
    measured = done.json
    assert measured["scenario"] == scenario
    assert measured["samples"] >= 200
    assert measured["per_second"] > 0
    assert measured["frames"]["count"] == 4
    assert {"bundle", "variant", "engine", "threads", "host"} <= measured.keys()
    if scenario == "SingleStream":
        assert "p95" in measured["latency_ms"]["total"]
        assert "p99" not in measured["latency_ms"]["total"], "200 samples carry no p99"
    else:
        assert measured["latency_ms"] == {}
    done = cli("bench", bundle, "--scenario", scenario, "--seconds", "0.01", "--source", SOURCE)
    assert done.code == 0
    assert scenario in done.out
