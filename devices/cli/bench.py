"""`bedside bench BUNDLE`: MLPerf's SingleStream or Offline on this host."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import msgspec

from bedside.devices.cli.output import console, print_json, print_line, table
from bedside.devices.cli.run import add_stream_arguments, positive, spec_from
from bedside.devices.compose import build_source, load, load_guard
from bedside.devices.probe import probe
from bedside.devices.starters import resolve
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.errors import FrameError, SourceError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.latent import make_preprocess
from bedside.runtime.protocols import Source
from bedside.runtime.scenarios import SAMPLES, run_scenario
from bedside.runtime.tasks import make_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    add_stream_arguments(parser)
    parser.add_argument("--scenario", choices=("SingleStream", "Offline"), default="SingleStream")
    parser.add_argument(
        "--seconds", type=positive, default=3.0, metavar="S", help="measure at least this long"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    args.source = args.source or "synthetic:ultrasound?size=1920x1080&frames=16"
    seconds, args.seconds = args.seconds, None
    spec = spec_from(args)
    clock = MonotonicClock()
    frames = _frames(build_source(spec, clock))
    with open_bundle(resolve(spec.bundle)) as bundle:
        loaded = load(bundle, spec)
        model, digest = loaded.model, bundle.digest
        with contextlib.ExitStack() as opened:
            opened.callback(loaded.session.close)
            guard = load_guard(bundle, spec, loaded)
            if guard is not None:
                opened.callback(guard.close)
            preprocess = make_preprocess(model.input, roi=spec.roi, masks=spec.masks)
            task = make_task(model.decode, top_k=spec.top_k, smoothing=spec.smoothing)
            measured = run_scenario(
                args.scenario, loaded, preprocess, task, frames, clock, guard=guard, min_seconds=seconds
            )
    session = loaded.session
    height, width = frames[0][0].shape[:2]
    what: dict[str, Any] = {
        **msgspec.to_builtins(measured),
        "bundle": digest,
        "variant": loaded.variant.id,
        "engine": session.engine,
        "threads": session.options.threads,
        "hint": session.options.hint,
        "guard": None if guard is None else guard.describe(),
        "frames": {"source": spec.source, "count": len(frames), "width": width, "height": height},
    }
    if args.json:
        print_json({**what, "host": probe()})
        return 0
    print_line(
        f"{args.scenario}: {measured.queries} queries in {measured.seconds:.2f} s, "
        f"{measured.per_second:.1f} a second; "
        f"{loaded.variant.id} on {session.engine}, {session.options.threads} threads, {width}x{height} frames"
        + ("" if guard is None else f", guard {guard.loaded.variant.id} included")
    )
    if measured.latency_ms:
        columns = ("p50", "p90", "p95", "p99", "p99.9", "max")
        rows = [
            (stage, *(f"{v[c]:.3f}" if c in v else "-" for c in columns), v["samples"])
            for stage, v in measured.latency_ms.items()
        ]
        header = ("ms", *columns, "samples")
        console().print(table("Latency (- : too few samples to say)", header, rows, right=range(1, 8)))
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
