"""Does a DCGAN help? Two uses, each with numbers.

1. More training samples for a small set: a small classifier learns from a few real frames per class, alone, with
   the usual augmentation, and with frames that DCGANs draw which have seen the same few real frames and no others.
   Every arm takes the same number of gradient steps.
2. A calibration set when patients' frames may not leave: one float model, quantized to int8 with ranges from real
   frames, from frames that a DCGAN drew, from uniform noise, and from a black and a white frame alone.

  python benchmarks/studies/gan_uses.py --data-root FOLDER -o gan-uses.json
  python benchmarks/studies/gan_uses.py --seeds 2 --steps 50

With data: nerve against muscle in B-mode frames, split by subject and by tens of consecutive frames. The task
`textures` (four drawn classes that overlap) needs no data.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import gan_calibration
import gan_samples
import msgspec
import support
from gan_frames import read_task


class Study(msgspec.Struct, frozen=True):
    """Both uses; an empty or missing one was not asked for."""

    samples: tuple[gan_samples.Samples, ...]
    calibration: gan_calibration.CalibrationStudy | None


def print_study(study: Study) -> None:
    """For people."""
    for s in study.samples:
        rows = [
            (
                a.name,
                f"{a.mean:.1%}",
                f"{max(0.0, a.interval[0]):.1%} to {min(1.0, a.interval[1]):.1%}",
                f"{100 * a.gain:+.1f}",
                f"{100 * a.gain_interval[0]:+.1f} to {100 * a.gain_interval[1]:+.1f}",
            )
            for a in s.arms
        ]
        header = ("learned from", "accuracy", "95 %", "points gained", "95 %")
        title = (
            f"{s.task}: {s.real} real and {s.drawn} drawn frames per class, {s.classes} classes, "
            f"{len(s.arms[0].accuracy)} seeds, {s.tested} test frames"
        )
        support.show(title, header, rows)
    if (c := study.calibration) is None:
        return
    rows = [("Keras fp32", f"{c.keras:.1%}", f"{c.interval[0]:.1%} to {c.interval[1]:.1%}", "", "")]
    rows += [
        (
            r.name,
            f"{r.accuracy:.1%}",
            f"{r.interval[0]:.1%} to {r.interval[1]:.1%}",
            f"{r.agreement:.1%}",
            f"{r.difference:.4f}",
        )
        for r in c.sets
    ]
    title = f"{c.task}: int8 of one model by calibration set; {c.frames} frames each; DCGAN: {c.generator}"
    support.show(title, ("calibrated on", "accuracy", "95 %", "same decisions", "probabilities off by"), rows)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def main() -> None:
    """Read the command line, study, print."""
    parser = support.parser(__doc__)
    parser.add_argument(
        "--task", choices=("ultrasound", "textures"), action="append", help="default: those there is data for"
    )
    parser.add_argument("--use", choices=("samples", "calibration"), help="default: both")
    parser.add_argument(
        "--real", type=_positive, default=8, metavar="N", help="frames per class (default: 8)"
    )
    parser.add_argument("--seeds", type=_positive, default=4, metavar="N", help="default: 4")
    parser.add_argument("--steps", type=_positive, default=300, metavar="N", help="of a DCGAN (default: 300)")
    parser.add_argument(
        "--gan", type=Path, metavar="X.bedside", help="draws for the second use (64x64, gray)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="X.json", help="write there as well")
    args = parser.parse_args()
    tasks = args.task or (["textures"] if args.data_root is None else ["ultrasound", "textures"])
    with support.watched() as steps:
        samples = tuple(
            gan_samples.more_samples(
                read_task(name, args.data_root, gan_samples.SIDE, steps),
                args.real,
                args.seeds,
                args.steps,
                steps,
            )
            for name in (tasks if args.use != "calibration" else ())
        )
        calibration = None
        if args.use != "samples":
            large = read_task(tasks[0], args.data_root, gan_calibration.SIDE, steps)
            calibration = gan_calibration.calibration_sets(large, args.gan, args.steps, steps)
    study = Study(samples, calibration)
    if args.output is not None:
        support.save(args.output, study)
    if args.json:
        support.print_json(study)
    else:
        print_study(study)


if __name__ == "__main__":
    sys.exit(support.run(main))
