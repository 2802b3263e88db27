"""`bedside fit-profile SOURCE`: find where the image lies on a scanner's screen, show it, write the profile."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

import cv2

from bedside.devices.cli.output import print_json, print_line
from bedside.devices.cli.run import positive_int
from bedside.devices.fitting import Evidence, ScreenFit, fit_screen, gather
from bedside.devices.fitting.evidence import FRAMES
from bedside.devices.fitting.picture import describe, draw_fit
from bedside.devices.fitting.profile_text import as_json, profile_name, profile_text
from bedside.devices.profiles import Profile, load_profile, parse_profile, read_profile
from bedside.devices.sinks.failure import sink_error
from bedside.devices.sources import open_source
from bedside.runtime.errors import GateError, ProfileError, UsageError

MOST_FRAMES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "source", metavar="SOURCE", help="as for bedside run: a recording, camera:0, rtsp://..."
    )
    parser.add_argument(
        "--device", metavar="PROFILE", help="the profile to extend: a name, or the path of its TOML file"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.toml", help="write the profile there")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw what was found there")
    parser.add_argument(
        "--frames",
        type=positive_int,
        default=FRAMES,
        metavar="N",
        help=f"how many frames to look at (default: {FRAMES})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Look, draw, write, say.

    Returns:
        0. Where the fit is unsure, a `GateError` is raised after the picture was written: exit code 1.
    """
    for path, suffix in ((args.output, ".toml"), (args.picture, ".png")):
        if path is not None and path.suffix.lower() != suffix:
            raise UsageError(f"ends in {path.suffix or 'nothing'}, not in {suffix}", where=str(path))
    if args.frames > MOST_FRAMES:
        raise UsageError(f"--frames is {args.frames}; at most {MOST_FRAMES}")
    profile = load_profile(args.device) if args.device else None
    capture = profile.capture if profile is not None else None
    evidence = gather(open_source(args.source, capture=capture), args.frames)
    fit = fit_screen(evidence)
    if args.picture is not None:
        _write(args.picture, _encoded(evidence, fit))
    if fit.sure and args.output is not None:
        _write(args.output, _profile(args, fit, profile).encode())
    if args.json:
        written = args.output if fit.sure else None
        print_json({**as_json(fit), "picture": _path(args.picture), "profile": _path(written)})
    elif fit.sure:
        _say(args, fit)
    if not fit.sure:
        raise GateError(
            "unsure where the image lies, so no profile is written: " + "; ".join(fit.doubts),
            where=args.source,
            hint=f"{args.picture} shows what was found"
            if args.picture
            else "look at it with --picture FILE.png",
        )
    return 0


def _say(args: argparse.Namespace, fit: ScreenFit) -> None:
    print_line(f"image: {describe(fit)}")
    roi = fit.roi
    box = f"[{roi.x}, {roi.y}, {roi.width}, {roi.height}] of {fit.width} x {fit.height}" if roi else ""
    print_line(f"region of interest: {box or 'none needed, the image is the whole frame'}")
    masks = ", ".join(f"[{m.x}, {m.y}, {m.width}, {m.height}]" for m in fit.masks)
    print_line(f"masks: {masks or 'none'}")
    for path, what in ((args.picture, "picture"), (args.output, "profile")):
        if path is not None:
            print_line(f"{what}: {path}")
    if args.output is None:
        print_line("no profile written: name one with -o FILE.toml")


def _profile(args: argparse.Namespace, fit: ScreenFit, profile: Profile | None) -> str:
    base = read_profile(args.device).decode() if args.device else None
    try:
        text = profile_text(
            fit, name=profile_name(args.output.stem), source=args.source, base=base, profile=profile
        )
    except ValueError as error:
        raise ProfileError(str(error), where=args.device) from None
    # What is written has to be what can be read.
    read = parse_profile(text.encode(), where=str(args.output))
    assert (read.screen.roi, read.screen.masks) == (fit.roi, fit.masks)
    return text


def _encoded(evidence: Evidence, fit: ScreenFit) -> bytes:
    return cv2.imencode(".png", draw_fit(evidence, fit))[1].tobytes()


def _write(path: Path, data: bytes) -> None:
    # The file may be the profile that is extended: it is replaced by a whole one, or stays.
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise sink_error(str(path), "cannot be written", error) from None


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
