"""The contracts of classification and segmentation: class scores, one per frame or one per pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from bedside.export.adopt.options import Scores
from bedside.export.adopt.outputs import Output, Part, Probe, Reading, listed, single, taken, tell, unused
from bedside.export.backend import keras
from bedside.runtime.bundle.decode import ClassificationDecode, SegmentationDecode
from bedside.runtime.errors import UsageError

#: Probabilities of one sample may miss 1 by this much: float32 softmax over thousands of classes.
_SUM_TOLERANCE = 1e-3


def classification(probe: Probe) -> Reading:
    """Hold outputs to the contract of classification.

    Raises:
        UsageError: They do not fit, or what they are is not known.
    """
    scores, maps = _scores_and_maps(probe)
    if len(scores.shape) != 1:
        hint = "flatten or pool before the last layer; other tasks are not exported as classification"
        raise probe.refuse(f"gives an output {tell(scores.shape)}, classification needs (None, K)", hint)
    used = (scores,) if maps is None else (scores, maps)
    if scores.shape[0] == 1:
        return _single_sigmoid(probe, scores, unused(probe, (scores,)))
    _check_count(probe, scores)
    decode = ClassificationDecode(
        labels=probe.labels, scores=_kind(probe, scores), map=None if maps is None else 1
    )
    parts = [taken("scores", scores)] + ([] if maps is None else [taken("map", maps)])
    return Reading(decode, tuple(parts), unused(probe, used))


def segmentation(probe: Probe) -> Reading:
    """Hold outputs to the contract of segmentation.

    Raises:
        UsageError: They do not fit, or what they are is not known.
    """
    scores = single(probe, "segmentation has one")
    _check_sides(probe, scores)
    channels, count = scores.shape[2], len(probe.labels)
    if channels == 1:
        if count != 2:
            what = f"gives one channel, which tells two classes apart, the data has {count}"
            raise probe.refuse(what, "one channel per label, the background first, and softmax")
        kind = _binary_kind(probe, scores)
    else:
        _check_count(probe, scores)
        kind = _kind(probe, scores)
    options = probe.options
    decode = SegmentationDecode(
        labels=probe.labels,
        scores=kind,
        threshold=0.5 if options.threshold is None else options.threshold,
        min_area=options.min_area,
    )
    return Reading(decode, (taken("mask", scores),), unused(probe, (scores,)))


def _scores_and_maps(probe: Probe) -> tuple[Output, Output | None]:
    """The scores, and class activation maps where they come as a second output."""
    outputs = probe.outputs
    if probe.options.output is not None or len(outputs) != 2:
        return single(probe, "classification has one"), None
    flat = [o for o in outputs if len(o.shape) == 1]
    grids = [o for o in outputs if len(o.shape) == 3]
    if len(flat) != 1 or len(grids) != 1 or flat[0].shape[0] != grids[0].shape[2]:
        what = f"has 2 outputs {listed(outputs)}, classification has one, or scores (None, K) and maps"
        raise probe.refuse(f"{what} (None, h, w, K)", "--output-is says which one counts")
    return flat[0], grids[0] if probe.options.maps else None


def _single_sigmoid(probe: Probe, scores: Output, notes: tuple[str, ...]) -> Reading:
    """Two classes told by one number: both get a score of their own."""
    if len(probe.labels) != 2:
        what = f"gives 1 output, which tells two classes apart, the data has {len(probe.labels)} classes"
        raise probe.refuse(what, "one output per label and softmax")
    logits = _binary_kind(probe, scores) == "logits"

    def pair(tensors: list[Any]) -> Any:
        p = tensors[scores.index]
        p = keras.ops.sigmoid(p) if logits else p
        return keras.ops.concatenate([1.0 - p, p], axis=-1)

    note = f"one sigmoid output p, exported as [1 - p, p]: p is the probability of {probe.labels[1]!r}"
    return Reading(ClassificationDecode(labels=probe.labels), (Part("scores", pair),), (note, *notes))


def _check_count(probe: Probe, scores: Output) -> None:
    """One score per label."""
    found, labels = scores.shape[-1], probe.labels
    if found != len(labels):
        told = ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
        raise UsageError(
            f"the model gives {found} scores, the data has {len(labels)} classes: {told}",
            where="labels",
            hint="one label per score, in the order of the outputs: the sorted names of the data, or --labels",
        )


def _check_sides(probe: Probe, scores: Output) -> None:
    """A map `(h, w, K)` that covers the whole frame, cell by cell."""
    height, width = probe.shape[:2]
    if len(scores.shape) != 3:
        hint = "give the scores of every class, not argmax and not flattened pixels"
        raise probe.refuse(f"gives an output {tell(scores.shape)}, segmentation needs (None, h, w, K)", hint)
    rows, columns, _ = scores.shape
    if scores.shape[1:] == (height, width) and rows in (1, len(probe.labels)):
        what = f"gives an output {tell(scores.shape)} with the classes first, they have to come last"
        raise probe.refuse(what, "convert a channels-first model before exporting it")
    if height % rows or width % columns or height // rows != width // columns:
        hint = "a map that misses a border (valid padding) or is stretched would be drawn at the wrong place"
        raise probe.refuse(
            f"gives a map of {columns}x{rows} for frames of {width}x{height}, expected the same size or an "
            "equal whole fraction of both sides",
            hint,
        )


def _binary_kind(probe: Probe, scores: Output) -> Scores:
    """What one number per frame or per pixel is: as read from the graph, checked against what comes out."""
    low, high = float(scores.values.min()), float(scores.values.max())
    head, given = scores.ending.head, probe.options.scores
    bounded = head in ("sigmoid", "softmax") and not scores.ending.scaled
    if head == "softmax":
        raise probe.refuse("ends in a softmax over one channel, which is always 1", "end it with a sigmoid")
    if given == "logits" and bounded:
        raise probe.refuse("ends in a sigmoid, --scores says logits", "leave --scores out")
    says: Scores | None = given or ("probabilities" if bounded else "logits" if head == "linear" else None)
    if says is None:
        what = f"gives one score that ends in neither a sigmoid nor linear, {low:.3g}..{high:.3g} on noise"
        raise probe.refuse(what, "--scores probabilities|logits says what it is")
    if says == "probabilities" and not (low >= 0.0 and high <= 1.0):
        what = f"gives 'probabilities' of {low:.3g}..{high:.3g}, expected 0..1"
        raise probe.refuse(what, "if they are logits, say --scores logits")
    return says


def _kind(probe: Probe, scores: Output) -> Scores:
    """What scores over the last axis are: as read from the graph, checked against what comes out of it."""
    out = scores.values.astype(np.float64)
    total = out.sum(axis=-1)
    distribution = bool(out.min() >= -_SUM_TOLERANCE and np.abs(total - 1.0).max() <= _SUM_TOLERANCE)
    head, given = scores.ending.head, probe.options.scores
    if head == "sigmoid" and given is None:
        hint = "end it with softmax, one output per class; several labels at once are not exported"
        raise probe.refuse(f"ends in a sigmoid over {scores.shape[-1]} outputs", hint)
    if given == "logits" and head == "softmax":
        raise probe.refuse("ends in a softmax, --scores says logits", "leave --scores out")
    read: dict[str, Scores] = {"softmax": "probabilities", "linear": "logits"}
    says = given or read.get(head)
    if says == "probabilities" and not distribution:
        raise probe.refuse(
            f"gives 'probabilities' that sum to {total.min():.3g}..{total.max():.3g}, expected 1",
            "a softmax over the wrong axis, or logits: then say --scores logits",
        )
    if says is None:
        if not distribution:
            raise probe.refuse(
                "its outputs are neither a softmax nor linear, as far as can be read",
                "say --scores logits if softmax is to be applied to them",
            )
        says = "probabilities"
    return says
