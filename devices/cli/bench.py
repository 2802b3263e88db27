"""`bedside bench BUNDLE`: MLPerf's scenarios, paced playback, and a device's budgets, measured on this host."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.bench.budget import (
    IDLE_FPS,
    Measured,
    Row,
    check_budget,
    cpu_percent,
    kept,
    needs_cold_start,
    needs_idle,
)
from bedside.devices.bench.first_result import ColdStart, cold_start
from bedside.devices.bench.paced import PacedResult, paced_plan, run_paced
from bedside.devices.bench.report import write_report
from bedside.devices.cli.output import console, print_json, print_line, table
from bedside.devices.cli.run import add_stream_arguments, ledger_line, plan_from, positive
from bedside.devices.compose import PipelineSpec, build_source, load, load_guard
from bedside.devices.probe import probe
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import open_trusted
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.errors import FrameError, SourceError, UsageError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.latency import least_samples
from bedside.runtime.latent import make_preprocess
from bedside.runtime.protocols import Source
from bedside.runtime.scenarios import SAMPLES, Scenario, run_scenario
from bedside.runtime.tasks import make_task

#: Frames that scenarios of MLPerf are measured on, unless a source is named.
_FRAMES = "synthetic:ultrasound?size=1920x1080&frames=16"

#: How long a scenario is measured at least, in seconds, unless said otherwise.
_SECONDS = 3.0
_PACED_SECONDS = 30.0

#: The idle stream of a budget, in seconds.
_IDLE_SECONDS = 10.0

_COLUMNS = ("p50", "p90", "p95", "p99", "p99.9", "max")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    add_stream_arguments(parser)
    parser.add_argument(
        "--scenario",
        choices=("SingleStream", "MultiStream", "Offline", "Paced"),
        default=None,
        help="MLPerf's, or frames at the device's cadence (default: SingleStream)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=positive, metavar="S", help="measure at least this long")
    length.add_argument(
        "--minutes", type=positive, metavar="M", help="the same in minutes; MLPerf asks for 10"
    )
    parser.add_argument(
        "--fps", type=positive, metavar="F", help="Paced: frames per second (default: the profile's, or 30)"
    )
    parser.add_argument(
        "--budget",
        action="store_true",
        help="check the budgets of --device PROFILE, paced; the exit code is 1 where one is missed",
    )
    parser.add_argument("--html", type=_html_file, metavar="FILE.html", help="write a report")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _html_file(text: str) -> Path:
    # A slip must not write over a clip or a bundle.
    if not text.endswith((".html", ".htm")):
        raise argparse.ArgumentTypeError(f"{text!r}: a report ends in .html")
    return Path(text)


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Returns:
        0; 1 where a budget was missed; 130 or 143 when a signal ended a paced run.
    """
    if args.budget:
        if args.device is None:
            raise UsageError("whose budget?", hint="name a profile: --device PROFILE --budget")
        if args.scenario not in (None, "Paced"):
            raise UsageError(f"budgets are checked under Paced, not {args.scenario}")
    paced = args.budget or args.scenario == "Paced"
    if args.fps is not None and not paced:
        raise UsageError("--fps is for --scenario Paced", hint="other scenarios have no pace")
    seconds = 60.0 * args.minutes if args.minutes is not None else args.seconds
    return _paced(args, seconds) if paced else _mlperf(args, seconds or _SECONDS)


# MLPerf's scenarios.


def _mlperf(args: argparse.Namespace, seconds: float) -> int:
    scenario: Scenario = args.scenario or "SingleStream"
    args.source, args.seconds = args.source or _FRAMES, None
    spec = plan_from(args).spec
    clock = MonotonicClock()
    frames = _frames(build_source(spec, clock))
    with open_trusted(resolve(spec.bundle), spec.trust) as (bundle, _):
        loaded = load(bundle, spec)
        model, digest, manifest = loaded.model, bundle.digest, bundle.manifest
        with contextlib.ExitStack() as opened:
            opened.callback(loaded.session.close)
            guard = load_guard(bundle, spec, loaded)
            if guard is not None:
                opened.callback(guard.close)
            preprocess = make_preprocess(model.input, roi=spec.roi, masks=spec.masks)
            task = make_task(model.decode, top_k=spec.top_k, smoothing=spec.smoothing)
            measured = run_scenario(
                scenario, loaded, preprocess, task, frames, clock, guard=guard, min_seconds=seconds
            )
    session = loaded.session
    height, width = frames[0][0].shape[:2]
    what: dict[str, Any] = {
        **msgspec.to_builtins(measured),
        "bundle": digest,
        "name": manifest.name,
        "version": manifest.version,
        "variant": loaded.variant.id,
        "engine": session.engine,
        "threads": session.options.threads,
        "hint": session.options.hint,
        "guard": None if guard is None else guard.describe(),
        "frames": {"source": spec.source, "count": len(frames), "width": width, "height": height},
    }
    _emit(args, what)
    if args.json:
        return 0
    metric = measured.metric
    value = "too few samples to say" if metric.value is None else f"{metric.value:.3f} {metric.unit}"
    print_line(f"{scenario}, {metric.name}: {value}")
    print_line(
        f"{measured.samples} frames in {measured.seconds:.2f} s, {measured.per_second:.1f} a second; "
        f"{loaded.variant.id} on {session.engine}, {session.options.threads} threads, {width}x{height} frames"
        + ("" if guard is None else f", guard {guard.loaded.variant.id} included")
    )
    if measured.lacks:
        print_line(f"MLPerf would not count this run: {'; '.join(measured.lacks)}")
    _print_latency(measured.latency_ms)
    return 0


def _frames(source: Source) -> list[tuple[Pixels, Color]]:
    """Up to `SAMPLES` frames in memory, copied out of the source's buffers."""
    frames: list[tuple[Pixels, Color]] = []
    try:
        source.open()
        while len(frames) < SAMPLES:
            try:
                frame = source.read()
            except FrameError:
                continue
            if frame is None:
                break
            frames.append((frame.pixels.copy(), frame.color))
            frame.release()
    finally:
        source.close()
    if not frames:
        raise SourceError("has no usable frame", hint="choose another --source")
    return frames


# Paced, and budgets.


def _paced(args: argparse.Namespace, seconds: float | None) -> int:
    profile = load_profile(args.device) if args.device else Profile(name="none")
    fps = args.fps or profile.capture.fps or 30.0
    drawn = args.source is None
    size = f"{profile.capture.width or 1920}x{profile.capture.height or 1080}"
    if drawn:
        # A camera is measured when it is named: this runs anywhere, and twice the same. Eight frames are held in
        # memory, as many as the pool of a capture card.
        args.source = f"synthetic:ultrasound?size={size}&fps={fps:g}&loop=8"
    args.seconds = None
    plan = plan_from(args)
    if args.budget and not profile.ladder.enabled:
        # `run` refuses what takes more; here it is a row in the table. Only the ladder chooses by it.
        plan = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, memory_mb=None))
    if seconds is None:
        # Long enough for a p99 where a budget asks for one.
        seconds = max(_PACED_SECONDS, 1.1 * least_samples(0.99) / fps) if args.budget else _PACED_SECONDS
    rate = args.fps or (fps if drawn else None)
    # First, so that nothing that is loaded here is in the way.
    cold = None
    if args.budget and needs_cold_start(profile.budget):
        cold = cold_start(_first(plan, f"synthetic:blank?size={size}" if drawn else None))
    measured = run_paced(paced_plan(plan, fps=rate, seconds=seconds))
    if measured.interrupted is not None:
        return measured.interrupted
    rows: tuple[Row, ...] = ()
    if args.budget:
        idle = None
        if needs_idle(profile.budget):
            idle = cpu_percent(run_paced(paced_plan(plan, fps=IDLE_FPS, seconds=_IDLE_SECONDS)))
        rows = check_budget(profile, Measured(paced=measured, cold=cold, idle_cpu_percent=idle))
    what = measured.to_dict() | {"device": profile.name}
    if args.budget:
        what |= {"budget": [msgspec.to_builtins(row) for row in rows], "kept": kept(rows)}
        what |= {"cold_start": msgspec.to_builtins(cold)}
    _emit(args, what, measured, rows)
    if not args.json:
        _print_paced(measured, cold)
        if rows:
            _print_budget(rows)
    return 0 if kept(rows) else 1


def _first(plan: StreamPlan, source: str | None) -> StreamPlan:
    """The plan of a cold start: without drawing frames, which is no device's work."""
    spec: PipelineSpec = plan.spec
    if source is not None:
        spec = msgspec.structs.replace(spec, source=source)
    return msgspec.structs.replace(plan, spec=spec)


def _print_paced(measured: PacedResult, cold: ColdStart | None) -> None:
    summary = measured.summary
    rate = "its own rate" if measured.fps is None else f"{measured.fps:.4g} frames/s"
    print_line(
        f"Paced at {rate} for {measured.seconds:.1f} s: {summary['variant']} on {summary['engine']}, "
        f"{summary['threads']} threads"
    )
    print_line(ledger_line(summary["ledger"]))
    if measured.deadline_ms is not None:
        print_line(f"{measured.misses} results older than {measured.deadline_ms:.4g} ms")
    _print_latency(summary["latency_ms"])
    rows = [
        (
            f"{w.begin_s:.0f} s",
            w.results,
            w.misses,
            w.lost,
            *(_shown(w.age_ms.get(name), 3) for name in ("p50", "p95", "p99", "max")),
            _shown(w.celsius, 1),
            _shown(w.mhz, 0),
            _shown(w.cpu_percent, 1),
            _shown(w.rss_mb, 1),
        )
        for w in measured.windows
    ]
    header = ("from", "results", "misses", "lost", "p50", "p95", "p99", "max", "°C", "MHz", "CPU %", "MB")
    title = "Minute by minute: ages in ms (- : too few samples, or this host does not tell)"
    console().print(table(title, header, rows, right=range(1, len(header))))
    if measured.drift:
        said = ", ".join(f"{name} {ratio:.2f} times" for name, ratio in measured.drift.items())
        print_line(f"age in the last minute over the first: {said}")
    if cold is not None:
        peak = "" if cold.peak_mb is None else f", {cold.peak_mb:.0f} MB at its highest"
        print_line(f"cold start to the first result: {cold.seconds:.2f} s (median of {cold.starts}){peak}")


def _print_budget(rows: Sequence[Row]) -> None:
    shown = [
        (
            row.key,
            row.what,
            f"{row.budget:g} {row.unit}",
            "-" if row.measured is None else f"{row.measured:.4g} {row.unit}",
            row.verdict + (f": {row.why}" if row.why else ""),
        )
        for row in rows
    ]
    header = ("key", "what", "budget", "measured", "verdict")
    console().print(table("Budget", header, shown, right=(2, 3)))


# Both.


def _emit(
    args: argparse.Namespace,
    what: Mapping[str, Any],
    paced: PacedResult | None = None,
    budget: Sequence[Row] = (),
) -> None:
    """The report and the JSON object, where they are asked for."""
    if not args.json and args.html is None:
        return
    host = msgspec.to_builtins(probe())
    if args.html is not None:
        write_report(args.html, what, host, paced, budget)
    if args.json:
        print_json({**what, "host": host})


def _print_latency(latency_ms: Mapping[str, Mapping[str, Any]]) -> None:
    if latency_ms:
        rows = [
            (stage, *(_shown(v.get(c), 3) for c in _COLUMNS), v["samples"]) for stage, v in latency_ms.items()
        ]
        header = ("ms", *_COLUMNS, "samples")
        console().print(table("Latency (- : too few samples to say)", header, rows, right=range(1, 8)))


def _shown(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
