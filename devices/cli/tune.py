"""`bedside tune BUNDLE`: measure every way to run it here, and keep the ranking for `bedside run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from bedside.devices.cli.output import console, print_json, print_line, progress_console, table
from bedside.devices.host import cores
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.store.resolving import resolve
from bedside.devices.trust import open_trusted
from bedside.devices.tuning.candidates import candidates, default_candidate, thread_counts, usable_cores
from bedside.devices.tuning.host import this_host
from bedside.devices.tuning.ranking import Candidate, Limits, Measured, Ranking, StruckOff, ties
from bedside.devices.tuning.store import alone, save
from bedside.devices.tuning.tuner import FULL, QUICK, Job, Outcome, Step, tune
from bedside.runtime import engines
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.errors import EngineError, UsageError, printable

#: Frames per second where no profile says otherwise.
FPS = 30.0

#: Medians of one candidate that differ by more, as a fraction, say that the host was not left alone.
UNSTEADY = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a .bedside file, or the name of a starter bundle")
    parser.add_argument(
        "--device",
        metavar="PROFILE",
        help=f"a profile's name or the path of its TOML file: its frame rate (default: {FPS:g} a second) "
        "and what it leaves open",
    )
    parser.add_argument("--quick", action="store_true", help="measure in short: about a quarter of the time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure, store, print.

    Raises:
        EngineError: Nothing that passes is left; after the reasons were printed.
    """
    profile = load_profile(args.device) if args.device else Profile(name="none")
    limits = limits_of(profile)
    opening = open_trusted(resolve(args.bundle), profile.trust)
    with opening as (bundle, _), alone(), confined(profile.host.inference_cores):
        job = make_job(bundle, profile, limits, quick=args.quick)
        with _progress(enabled=sys.stderr.isatty() and not args.json) as show:
            outcome = tune(bundle, job, MonotonicClock(), on_step=show)
        if outcome.ranking is None:
            _give_up(bundle, outcome, as_json=args.json)
        ranking = outcome.ranking
        stored = save(ranking)
    if args.json:
        print_json({**summary(ranking, limits), "stored": str(stored)})
    else:
        print_ranking(ranking, limits)
        print_line(f"stored in {stored}; `bedside run` uses it")
    return 0


def limits_of(profile: Profile) -> Limits:
    """What a profile leaves open."""
    engine = profile.engine
    return Limits(
        variant=engine.variant, engines=engine.preference, most_threads=engine.threads, hint=engine.hint
    )


@contextmanager
def confined(inference_cores: Sequence[int]) -> Iterator[None]:
    """Measure where the profile lets the engine run; children inherit it. No cores named leaves all."""
    before = cores.allowed()
    grant = cores.place(0, inference_cores, "inference") if inference_cores else None
    if grant is not None and not grant.granted:
        progress_console().print(Text(f"not on cores {grant.asked}: {grant.reason} ({grant.remedy})"))
    try:
        yield
    finally:
        cores.restore(0, before)


def make_job(bundle: Bundle, profile: Profile, limits: Limits, *, quick: bool) -> Job:
    """What there is to measure.

    Raises:
        UsageError: The profile names a variant that the bundle does not ship.
        EngineError: No engine here reads any variant.
    """
    model = bundle.manifest.main
    shipped = {v.id for v in model.shipped}
    if limits.variant is not None and limits.variant not in shipped:
        what = f"the profile wants the variant {limits.variant!r}, which is not shipped"
        raise UsageError(what, where=str(bundle.path), hint=f"there is {', '.join(sorted(shipped))}")
    statuses = engines.statuses()
    default = default_candidate(model, limits)
    if default is None:
        reasons = "; ".join(f"{s.id} {s.reason}" for s in statuses if not s.available)
        wanted = limits.variant or model.default
        raise EngineError(f"no engine here reads {wanted}, which runs by default: {reasons}")
    threads = thread_counts(usable_cores(), profile.engine.threads, engines.default_threads())
    found = candidates(model, statuses, threads)
    return Job(
        candidates=found if default in found else (default, *found),
        default=default,
        limits=limits,
        fps=profile.capture.fps or FPS,
        host=this_host(),
        quick=quick,
        plan=QUICK if quick else FULL,
    )


def summary(ranking: Ranking, limits: Limits) -> dict[str, Any]:
    """The object that `bedside tune --json` prints: the ranking, and what follows from it."""
    picked = ranking.best(limits)
    return {
        "ranking": ranking,
        "picked": None if picked is None else picked.candidate,
        "tied": [] if picked is None else [m.candidate for m in _rivals(ranking, limits)],
        "gain": gain(ranking, picked),
        "limits": limits,
        "fingerprint": ranking.host.fingerprint,
        "absent": {s.id: s.reason for s in engines.statuses() if not s.available},
    }


def gain(ranking: Ranking, picked: Measured | None) -> dict[str, float] | None:
    """What staying with the default would have cost, as ratios to what was picked: 2.0 is twice as much.

    Returns:
        None where one of the two was struck off.
    """
    default = ranking.of(ranking.default)
    if picked is None or default is None:
        return None
    ratios = {
        "p95": (default.p95_ms, picked.p95_ms),
        "p50": (default.paced.p50, picked.paced.p50),
        "back_to_back_p50": (default.back_to_back.p50, picked.back_to_back.p50),
        "cpu": (default.cpu_ms, picked.cpu_ms),
    }
    return {name: there / here for name, (there, here) in ratios.items() if here > 0}


def print_ranking(ranking: Ranking, limits: Limits) -> None:
    """For people: every candidate, those struck off, and what it comes to."""
    picked = ranking.best(limits)
    tied = [m.candidate for m in _rivals(ranking, limits)]
    rungs = set(ranking.per_variant.values())
    rows: list[tuple[object, ...]] = []
    for place, m in enumerate(ranking.measured, 1):
        marks = [
            "taken" if picked is not None and m == picked else "as fast" if m.candidate in tied else "",
            "default" if m.candidate == ranking.default else "",
            "best of its variant" if m.candidate in rungs else "",
            "" if limits.allow(m.candidate) else "not by this profile",
        ]
        rows.append((place, *_what(m.candidate), *_times(m), Text(", ".join(x for x in marks if x), "green")))
    title = (
        f"{ranking.name} {ranking.version}: invoke at {ranking.fps:g} frames/s, in ms "
        "(p95 at 0.99 confidence; - : visited too seldom to say)"
    )
    header = ("", "variant", "engine", "threads", "p95", "p50", "back to back", "CPU", "MB", "")
    console().print(table(title, header, rows, right=(0, 3, 4, 5, 6, 7, 8)))
    _print_struck_off(ranking.struck_off)
    for line in lines(ranking, limits):
        print_line(line)


def lines(ranking: Ranking, limits: Limits) -> Iterator[str]:
    """What it comes to, in words."""
    picked, default = ranking.best(limits), ranking.of(ranking.default)
    if picked is None:
        yield "the profile leaves nothing that passes: `bedside run` stays with the default"
    else:
        yield f"taken: {picked.candidate}: p95 {picked.p95_ms:.3f} ms, median {picked.paced.p50:.3f} ms"
    ratios = gain(ranking, picked)
    if default is None:
        reason = next(
            (s.reason for s in ranking.struck_off if s.candidate == ranking.default), "not measured"
        )
        yield f"the default does not pass here: {ranking.default}: {reason}"
    elif picked is not None and picked.candidate == default.candidate:
        yield "that is the default as well: nothing to gain on this host"
    elif ratios:
        words = {"p95": "p95", "p50": "median", "cpu": "processor time"}
        cost = ", ".join(f"{ratios[key]:.2f}x {word}" for key, word in words.items() if key in ratios)
        tied = default in _rivals(ranking, limits)
        yield f"staying with the default, {ranking.default}, would have cost {cost}" + (
            "; their p95 cannot be told apart" if tied else ""
        )
    if ranking.noise:
        yield f"medians of one candidate differed by {ranking.noise:.0%} from process to process"
    if ranking.noise > UNSTEADY:
        yield "this host was busy or changes its clock rate: tune again when it is quiet"
    absent = [s for s in engines.statuses() if not s.available]
    if absent:
        yield "not measured: " + "; ".join(f"{s.id}: {s.reason}" for s in absent)


def _rivals(ranking: Ranking, limits: Limits) -> tuple[Measured, ...]:
    return ties(m for m in ranking.measured if limits.allow(m.candidate))


def _what(candidate: Candidate) -> tuple[object, ...]:
    engine = f"{candidate.engine} {candidate.hint}" if candidate.hint else candidate.engine
    return candidate.variant, engine, candidate.threads


def _times(m: Measured) -> tuple[object, ...]:
    p95 = "-" if m.paced.p95 is None else f"{m.paced.p95:.3f}"
    fast = f"{m.back_to_back.p50:.3f}"
    return p95, f"{m.paced.p50:.3f}", fast, f"{m.cpu_ms:.2f}", f"{m.memory_bytes / 1e6:.0f}"


def _print_struck_off(struck_off: tuple[StruckOff, ...]) -> None:
    if struck_off:
        rows = [(*_what(s.candidate), Text(s.kind, "bold red"), s.reason) for s in struck_off]
        header = ("variant", "engine", "threads", "", "why")
        console().print(table("Struck off", header, rows, right=(2,)))


def _give_up(bundle: Bundle, outcome: Outcome, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"ranking": None, "bundle": bundle.digest, "struck_off": outcome.struck_off})
    else:
        _print_struck_off(outcome.struck_off)
    raise EngineError(
        f"none of {len(outcome.struck_off)} candidates passes on this host",
        where=str(bundle.path),
        hint="the reasons are above; `bedside verify` says more",
    )


@contextmanager
def _progress(enabled: bool) -> Iterator[Callable[[Step], None]]:
    """A bar on standard error."""
    columns = (
        TextColumn("{task.completed} of {task.total} visits"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=progress_console(), disable=not enabled, transient=True) as bar:
        task = bar.add_task("")

        def show(step: Step) -> None:
            what = escape(printable(str(step.candidate)))
            bar.update(task, completed=step.done, total=step.total, description=what)

        yield show
