"""What the model card says of a task: what the model does, and how it is known to fail."""

from __future__ import annotations

from bedside.export.reports import wording
from bedside.export.reports.outcome import ExportOutcome
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Decode,
    DetectionDecode,
    ReconstructionDecode,
    SegmentationDecode,
)


def does(o: ExportOutcome, labels: tuple[str, ...]) -> list[str]:
    """What the model makes of a frame.

    Args:
        o: The export.
        labels: Class names, made safe for Markdown.
    """
    match o.decode:
        case ClassificationDecode() as decode:
            return [
                f"It sorts a frame into one of {len(labels)} classes: {', '.join(labels)}. A frame that belongs "
                "to none of them still gets one of these labels.",
                _confidence(o, decode),
                "A class activation map says where the evidence for the class lay."
                if decode.map is not None
                else "",
            ]
        case SegmentationDecode():
            return [
                f"It gives every pixel a class: {', '.join(labels[1:])}, or the background ({labels[0]}). Regions, "
                "outlines and areas on the device are read off these classes."
            ]
        case DetectionDecode() as decode:
            return [
                f"It finds {', '.join(labels)} and draws a box around each, with a score; boxes are shown from a "
                f"score of {decode.threshold:g} on. A frame may have none."
            ]
        case ReconstructionDecode() as decode:
            text = "It copies a frame by way of a short code, and says how far the copy is off: a map and a score."
            if decode.out is not None:
                text += (
                    f" A score above {decode.out.threshold:.3g} means that the frame is unlike those it was made "
                    f"for; by the choice of this threshold {wording.percent(decode.out.false_alarm, 2)} of frames "
                    "like the holdout's exceed it."
                )
            return [text]
        case _:
            return {
                "translation": ["It turns a frame into another picture, the same size."],
                "generation": [
                    "It draws pictures that look like its training frames, from random numbers. No patient was in "
                    "front of the probe or camera when such a picture was made."
                ],
            }.get(o.task, [])


def _confidence(o: ExportOutcome, decode: ClassificationDecode) -> str:
    found = o.confidence
    if found is None:
        return ""
    text = (
        f"Its confidence is calibrated (temperature {found.temperature:.3g}): the expected calibration error of "
        f"the Keras model on the holdout is {found.after:.3f}, {found.before:.3f} before."
    )
    if decode.conformal is not None and found.coverage is not None and found.set_size is not None:
        text += (
            f" Prediction sets hold the truth in at least {wording.percent(decode.conformal.coverage)} of frames "
            f"like the {decode.conformal.samples} of the calibration split, on average over frames; on the holdout "
            f"it was {wording.percent(found.coverage)}, with {found.set_size:.2f} classes per set."
        )
    return text


def guarded(guard: Decode | None, bundle: str) -> str:
    """What the guard does; empty where there is none."""
    if not isinstance(guard, ReconstructionDecode) or guard.out is None:
        return ""
    return (
        f"A guard (the autoencoder of {bundle}) looks at every frame first; those that are unlike the data are "
        f"withheld as out of distribution. By the choice of its threshold on {guard.out.samples} holdout frames, "
        f"{wording.percent(guard.out.false_alarm, 2)} of frames like them are withheld as well."
    )


def failures(o: ExportOutcome) -> list[str]:
    """How such a model is known to fail, and what its numbers do not say."""
    match o.decode:
        case ClassificationDecode() as decode:
            lines = [
                "Prediction sets and calibrated confidence hold for frames like those of the calibration split, "
                "and on average: not for each class, patient or site by itself."
                if o.confidence is not None
                else "Scores are not calibrated probabilities: 0.9 does not mean right nine times out of ten."
            ]
            if decode.map is not None:
                lines.append(
                    "A class activation map shows evidence, coarsely; it is no outline of a finding."
                )
        case SegmentationDecode():
            lines = [
                "Mean Dice hides the frame that went wrong: small regions are missed and bright reflections, "
                "instruments or shadows are taken for tissue. Look at the worst cases in the report.",
                "Areas and lengths that are read off a mask inherit its errors; they are no measurements for a "
                "diagnosis.",
                "Where frames without the structure were rare in the data, false regions on such frames are not "
                "measured by Dice.",
            ]
        case DetectionDecode() as decode:
            lines = [
                "No box does not mean that there is nothing: small, flat and half hidden findings are missed most.",
                f"The threshold of {decode.threshold:g} weighs missed boxes against false ones as the data has it; "
                "on other data the trade is another.",
                "Every frame is looked at by itself: a box may flicker from frame to frame.",
            ]
        case ReconstructionDecode():
            lines = [
                "A foreign frame may reconstruct well and pass; a frame of the right kind, from another scanner or "
                "with other settings, may not.",
                "A low error says that the frame is usual, not that it is healthy or of diagnostic quality.",
            ]
        case _:
            lines = {
                "translation": [
                    "A picture that comes out is plausible, not true: it may leave out fine structures, and may "
                    "show some that are not there. Never decide on it alone; keep the original beside it.",
                ],
                "generation": [
                    "Drawn pictures are no evidence of anatomy or disease, and must not enter a patient's record.",
                    "A generator can repeat training frames closely. That it does not was not proven here: treat "
                    "the model and its pictures with the care that the training data asks for.",
                    "Rare findings are drawn more rarely than they occur, or not at all.",
                ],
            }.get(o.task, [])
    lines.append(
        "Other scanners, settings, sites and patients than those in the data may give other results."
    )
    return lines
