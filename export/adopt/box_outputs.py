"""The contract of detection: boxes and their scores."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, TypeVar

import msgspec

from bedside.export.adopt.options import Activation, Coding, Units
from bedside.export.adopt.outputs import Output, Part, Probe, Reading, chosen, listed, taken, unused
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import DetectionDecode

_T = TypeVar("_T")

_SIDES = 4
#: The manifest has room for that many.
_MOST_LEVELS = 8
_BOX_WORDS = ("box", "ltrb", "coord")
_SCORE_WORDS = ("score", "class", "cls", "prob", "logit", "label")
_CODINGS: tuple[Coding, ...] = ("xyxy", "yxyx", "cxcywh", "ltrb")
#: Normalized boxes of noise may stick out of the frame, but not by this much.
_FAR_OUT = 10.0


class _Level(msgspec.Struct, frozen=True):
    boxes: Output
    scores: Output


def detection(probe: Probe) -> Reading:
    """Hold outputs to the contract of detection.

    Raises:
        UsageError: They do not fit, or what they are is not known.
    """
    levels = _named(probe) if probe.options.boxes else _paired(probe)
    for level in levels:
        _check_level(probe, level)
    coding = _agreed(probe, "coding", [_coding(probe, level.boxes) for level in levels])
    units = _agreed(probe, "units", [_units(probe, level.boxes, coding) for level in levels])
    activation = _agreed(probe, "activation", [_activation(probe, level.scores) for level in levels])
    options, many = probe.options, len(levels) > 1
    parts: list[Part] = []
    for i, level in enumerate(levels):
        suffix = str(i) if many else ""
        parts += [
            _flat(f"boxes{suffix}", level.boxes, coding),
            _flat(f"scores{suffix}", level.scores, coding),
        ]
    decode = DetectionDecode(
        labels=probe.labels,
        boxes=tuple(range(0, 2 * len(levels), 2)),
        scores=tuple(range(1, 2 * len(levels), 2)),
        coding=coding,
        units=units,
        activation=activation,
        background=_background(probe, levels),
        threshold=0.5 if options.threshold is None else options.threshold,
        iou=options.iou,
        limit=options.limit,
    )
    used = tuple(o for level in levels for o in (level.boxes, level.scores))
    return Reading(decode, tuple(parts), unused(probe, used))


def _named(probe: Probe) -> list[_Level]:
    """Levels as the author lists them."""
    pairs = zip(probe.options.boxes, probe.options.box_scores, strict=True)
    return [_Level(chosen(probe, b, "--boxes"), chosen(probe, s, "--box-scores")) for b, s in pairs]


def _paired(probe: Probe) -> list[_Level]:
    """Levels by shape: outputs over the same grid or the same Q belong together."""
    outputs = probe.outputs
    groups: dict[tuple[int, ...], list[Output]] = {}
    for output in outputs:
        groups.setdefault(output.shape[:-1], []).append(output)
    if any(len(group) != 2 for group in groups.values()):
        needs = "detection needs boxes (None, ..., 4) and scores (None, ..., K) in pairs"
        hint = "--boxes and --box-scores say which ones count"
        if len(outputs) == 1:
            hint = "give two outputs: the boxes out[..., :4] and the scores out[..., 4:]"
        raise probe.refuse(f"has {len(outputs)} outputs {listed(outputs)}, {needs}", hint)
    return [_level(probe, group) for group in groups.values()]


def _level(probe: Probe, pair: list[Output]) -> _Level:
    """Boxes and scores of one level, told apart by shape, and by name where both have 4 channels."""
    counts = (len(probe.labels), len(probe.labels) + 1)
    ways = [
        _Level(boxes, scores)
        for boxes, scores in (pair, pair[::-1])
        if boxes.shape[-1:] == (_SIDES,) and scores.shape and scores.shape[-1] in counts
    ]
    if not ways:
        what = f"gives {listed(tuple(pair))} for {len(probe.labels)} labels"
        raise probe.refuse(f"{what}, expected 4 sides of a box and {counts[0]} or {counts[1]} scores")
    if len(ways) == 2:
        told = [w for w in ways if _says(w.boxes, _BOX_WORDS) or _says(w.scores, _SCORE_WORDS)]
        if len(told) != 1:
            what = f"gives {listed(tuple(pair))}: either may be the boxes"
            raise probe.refuse(what, "--boxes and --box-scores say which is which")
        ways = told
    return ways[0]


def _says(output: Output, words: tuple[str, ...]) -> bool:
    return any(word in output.name.lower() for word in words)


def _check_level(probe: Probe, level: _Level) -> None:
    boxes, scores, count = level.boxes, level.scores, len(probe.labels)
    if boxes.shape[-1:] != (_SIDES,) or boxes.shape[:-1] != scores.shape[:-1] or len(boxes.shape) > 3:
        what = f"the boxes {boxes} and the scores {scores} do not belong together"
        raise probe.refuse(what, "for example (None, Q, 4) and (None, Q, K)")
    if scores.shape[-1] not in (count, count + 1):
        what = f"gives {scores.shape[-1]} scores per box, the data has {count} labels: "
        told = ", ".join(probe.labels[:12]) + (", ..." if count > 12 else "")
        raise probe.refuse(what + told, "labels do not count a background")


def _agreed(probe: Probe, what: str, found: list[_T]) -> _T:
    if len(set(found)) != 1:
        raise probe.refuse(f"the levels differ in {what}: {', '.join(map(str, found))}")
    if len(found) > _MOST_LEVELS:
        raise probe.refuse(f"has {len(found)} levels, at most {_MOST_LEVELS} can be exported")
    return found[0]


def _coding(probe: Probe, boxes: Output) -> Coding:
    """What the four numbers are: stated, in the name, or a grid of distances."""
    grid = len(boxes.shape) == 3
    coding = probe.options.coding
    if coding is None:
        words = [c for c in _CODINGS if c in boxes.name.lower()]
        coding = words[0] if len(words) == 1 else "ltrb" if grid else None
    if coding is None:
        what = f"the boxes {boxes} may be corners or centres"
        raise probe.refuse(what, "--coding xyxy|yxyx|cxcywh says it, or the output's name")
    if coding == "ltrb" and not grid:
        raise probe.refuse(f"ltrb needs boxes (None, h, w, 4), the grid that they belong to; got {boxes}")
    if coding == "ltrb" and float(boxes.values.min()) < 0.0:
        what = f"gives distances {boxes} down to {boxes.values.min():.3g} on noise, they are at least 0"
        raise probe.refuse(
            what, "end them with ReLU, softplus or exp; --coding says it if they are no distances"
        )
    return coding


def _units(probe: Probe, boxes: Output, coding: Coding) -> Units:
    """What the four numbers are measured in."""
    given, bounds = probe.options.units, boxes.ending.range
    largest = float(abs(boxes.values).max())
    if given == "cells" and coding != "ltrb":
        raise probe.refuse(f"only ltrb is measured in cells, the boxes are {coding}")
    if given == "pixels" and bounds is not None and bounds[1] <= 1.0:
        raise probe.refuse(
            f"the boxes end in a {boxes.ending.head}, --units says pixels", "leave --units out"
        )
    if given == "normalized" and largest > _FAR_OUT:
        what = f"the boxes reach {largest:.3g} on noise, --units says normalized"
        raise probe.refuse(what, "if they are pixels of the input, say --units pixels")
    if given is not None:
        return given
    if coding == "ltrb":
        return "cells"
    if boxes.ending.head == "sigmoid" and not boxes.ending.scaled:
        return "normalized"
    what = f"the boxes reach {largest:.3g} on noise: 0..1 of the input, or its pixels?"
    raise probe.refuse(what, "--units normalized|pixels says it")


def _activation(probe: Probe, scores: Output) -> Activation:
    """What the scores still need."""
    given, head = probe.options.activation, scores.ending.head
    low, high = float(scores.values.min()), float(scores.values.max())
    done = head in ("sigmoid", "softmax") and not scores.ending.scaled
    if done and given not in (None, "none"):
        raise probe.refuse(f"the scores end in a {head}, --activation says {given}", "leave --activation out")
    if given is None and not done:
        what = f"the scores {scores} end in neither a sigmoid nor a softmax"
        raise probe.refuse(what, "--activation none|sigmoid|softmax says what they need")
    if (given or "none") == "none" and not (low >= 0.0 and high <= 1.0):
        what = f"gives scores of {low:.3g}..{high:.3g} on noise, expected 0..1"
        raise probe.refuse(what, "if they are logits, say --activation sigmoid or softmax")
    return given or "none"


def _background(probe: Probe, levels: list[_Level]) -> Literal["none", "first", "last"]:
    """Where "nothing" stands among the scores."""
    counts = {level.scores.shape[-1] for level in levels}
    given, labels = probe.options.background, len(probe.labels)
    expected = labels if given in (None, "none") else labels + 1
    if counts == {expected}:
        return given or "none"
    told = " and ".join(map(str, sorted(counts)))
    what = f"gives {told} scores per box for {labels} labels"
    if given is not None:
        raise probe.refuse(f"{what}, --background says {given}")
    raise probe.refuse(what, "--background first|last says which one is the class 'nothing'")


def _flat(name: str, output: Output, coding: Coding) -> Part:
    """An output as the decoder wants it: a grid for `ltrb`, else a row of boxes."""
    if len(output.shape) == (3 if coding == "ltrb" else 2):
        return taken(name, output)
    rows = prod(output.shape[:-1])

    def reshaped(tensors: list[Any]) -> Any:
        return keras.ops.reshape(tensors[output.index], (-1, rows, output.shape[-1]))

    return Part(name, reshaped)
