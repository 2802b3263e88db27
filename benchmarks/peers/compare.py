"""bedside beside what people use today: the same clip, the same model file, the same threads.

Every candidate runs in a process of its own, peers in environments of their own, which this command makes (venv and
pip, below --cache). Rounds alternate: candidates in order, then in reverse. Writes OUT/peers.json, OUT/peers.md and
OUT/peers.svg.

  python benchmarks/peers/compare.py OUT            about forty minutes; leave the machine alone meanwhile
  python benchmarks/peers/compare.py OUT --quick    shows that everything works; its numbers mean nothing

The slow model is made with TensorFlow (`pip install -e '.[export]'`); without it that scenario is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clip as clips
import material
import msgspec
from environments import Environment, environment, own
from figure import figure
from material import Material
from page import page, show
from platformdirs import user_cache_dir
from records import CADENCE, CANDIDATES, SCENARIOS, Candidate, Comparison, Run, Scenario
from running import MeasureError, Orders, measure
from summaries import row

from bedside.devices.probe import probe
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import BedsideError, EngineError, UsageError

#: Of a full run: six carry an interval, and in pairs of two directions they alternate.
ROUNDS, QUICK_ROUNDS = 6, 2
#: 662 results carry a 99th percentile; half a second is left out.
FRAMES, QUICK_FRAMES = 720, 90
#: Times the frame interval that the slow model takes.
SLOWNESS = 3.0
#: Load average above which the host is said to be busy.
BUSY = 0.7
#: How long a process may take beyond what it plays; loading on a busy host included.
GRACE_S = 120.0


def in_turn(candidates: Sequence[Candidate], number: int) -> Sequence[Candidate]:
    """The order of a round: every second one runs backwards, so that no one always follows the same."""
    return candidates if number % 2 == 0 else candidates[::-1]


def chosen(text: str | None) -> tuple[Candidate, ...]:
    """Candidates by name; all without.

    Raises:
        UsageError: There is none of that name.
    """
    known = {candidate.name: candidate for candidate in CANDIDATES}
    names = list(known) if text is None else text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"no candidate {name!r}", hint=f"there is {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))


def scenarios(text: str | None) -> tuple[Scenario, ...]:
    """Scenarios by name, in their order; all without.

    Raises:
        UsageError: There is none of that name.
    """
    names = list(SCENARIOS) if text is None else text.split(",")
    for name in names:
        if name not in SCENARIOS:
            raise UsageError(f"no scenario {name!r}", hint=f"there is {', '.join(SCENARIOS)}")
    return tuple(scenario for scenario in SCENARIOS if scenario in names)


class Comparing:
    """All measurements of a comparison, and why some are missing.

    Args:
        candidates: In the order of even rounds.
        cache: For environments.
        out: For reports of single runs.
        threads: Of every engine.
    """

    def __init__(self, candidates: Sequence[Candidate], cache: Path, out: Path, threads: int) -> None:
        self.candidates = candidates
        self.runs: dict[tuple[str, Scenario, int], Run] = {}
        self.failures: dict[str, dict[str, str]] = {candidate.name: {} for candidate in candidates}
        self._out, self._threads = out, threads
        self._environments: dict[str, Environment] = {}
        for candidate in candidates:
            if candidate.requirements is not None:
                say(f"environment of {candidate.title}")
                made = environment(candidate.requirements, cache)
            else:
                made = own()
            self._environments[candidate.name] = made
            if made.python is None:
                self.failures[candidate.name]["all"] = made.reason

    def leave_out(self, scenario: Scenario, why: str) -> None:
        """No candidate can run a scenario."""
        for candidate in self.candidates:
            self.failures[candidate.name][scenario] = why

    def run(self, scenario: Scenario, number: int, model: Material, clip: Path, frames: int) -> None:
        """Run every candidate once, one after the other."""
        fps = CADENCE.get(scenario, float(clips.FPS))
        for candidate in in_turn(self.candidates, number):
            failed = self.failures[candidate.name]
            python = self._environments[candidate.name].python
            if python is None or scenario in failed:
                continue
            orders = Orders(
                scenario=scenario,
                clip=str(clip),
                live=scenario in CADENCE,
                fps=fps,
                frames=1 if scenario == "cold" else frames,
                model=str(model.file),
                bundle=str(model.bundle),
                threads=self._threads,
                labels=model.labels,
                engine=candidate.engine,
                packages=candidate.packages,
                report=str(self._out / "runs" / f"{number}-{scenario}-{candidate.name}.json"),
            )
            say(f"round {number + 1}, {scenario}: {candidate.title}")
            # The plain loop works through its backlog: SLOWNESS times as long as the clip, and twice that where
            # the host is busy.
            timeout_s = GRACE_S + 2 * SLOWNESS * frames / fps
            try:
                self.runs[candidate.name, scenario, number] = measure(candidate, python, orders, timeout_s)
            except MeasureError as error:
                failed[scenario] = str(error)
                say(f"  {error}")


def compare(args: argparse.Namespace) -> Comparison:
    """Everything, from the clip to the numbers."""
    candidates, wanted = chosen(args.only), scenarios(args.scenarios)
    frames = args.frames or (QUICK_FRAMES if args.quick else FRAMES)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    busy = os.getloadavg()[0]
    if busy > BUSY:
        say(f"this host is busy (load average {busy:.1f}): ratios may hold, times will not")
    say("clip")
    clip: Path = args.clip or args.cache / f"endoscopy-1080p60-{frames}.mp4"
    if args.clip is None:
        clips.make_clip(clip, frames, args.cache)
    described = clips.describe(clip)
    described["origin"] = "given" if args.clip else "bedside synthetic:endoscopy, x264"
    frames = min(frames, described["frames"])
    say("models")
    models = {"fast": material.fast(args.bundle, args.threads, args.out / "models")}
    comparing = Comparing(candidates, args.cache, args.out, args.threads)
    if "overload" in wanted:
        try:
            target_ms = SLOWNESS * 1000 / CADENCE["overload"]
            models["slow"] = material.slow(
                models["fast"], target_ms, args.threads, args.out / "models", args.cache
            )
        except EngineError as error:
            comparing.leave_out("overload", str(error))
    for number in range(rounds):
        for scenario in wanted:
            model = models.get("slow") if scenario == "overload" else models["fast"]
            if model is not None:
                comparing.run(scenario, number, model, clip, frames)
    return Comparison(
        quick=args.quick,
        rounds=rounds,
        frames=frames,
        threads=args.threads,
        clip=described,
        models={key: model.description for key, model in models.items()},
        host=host(),
        busy=round(busy, 2),
        rows=tuple(
            row(candidate, comparing.runs, rounds, frames, comparing.failures[candidate.name])
            for candidate in candidates
        ),
    )


def host() -> dict[str, Any]:
    """This host, as `bedside probe` has it."""
    plain: dict[str, Any] = msgspec.to_builtins(probe())
    return plain


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, compare, write.

    Returns:
        0 where bedside itself was measured in every scenario; 1 otherwise; the exit code of an error.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for the report, its plot and single runs"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_FRAMES} frames, {QUICK_ROUNDS} rounds")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(c.name for c in CANDIDATES)}")
    parser.add_argument("--scenarios", metavar="A,B", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--clip", type=Path, metavar="X.mp4", help="in place of a drawn one")
    parser.add_argument(
        "--bundle", default="modality-cnn", metavar="B", help="a classifier; its tflite-int8 is what runs"
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="of every engine (default: 1)"
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"(default: {ROUNDS})")
    parser.add_argument("--frames", type=positive, metavar="N", help=f"of the clip (default: {FRAMES})")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(user_cache_dir("bedside")) / "peers",
        metavar="DIR",
        help="environments and the clip are kept there",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args(argv)
    args.out, args.cache = args.out.resolve(), args.cache.resolve()
    try:
        args.cache.mkdir(parents=True, exist_ok=True)
        found = compare(args)
        for name, data in (
            ("peers.json", msgspec.json.format(msgspec.json.encode(found), indent=1)),
            ("peers.md", page(found).encode()),
            ("peers.svg", figure(found).encode()),
        ):
            with replacing(args.out / name) as file:
                file.write(data)
    except BedsideError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 6
    except KeyboardInterrupt:
        print("compare.py: interrupted", file=sys.stderr)
        return 130
    if args.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        show(found)
    ours = next((r for r in found.rows if r.name == "bedside"), None)
    return 1 if ours is not None and ours.failures else 0


if __name__ == "__main__":
    sys.exit(main())
