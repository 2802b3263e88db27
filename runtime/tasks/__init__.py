"""Tasks: what the output tensors mean."""

from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Decode,
    DetectionDecode,
    GenerationDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.errors import UsageError
from bedside.runtime.tasks.classification import ClassificationDecoder
from bedside.runtime.tasks.detection import DetectionDecoder
from bedside.runtime.tasks.generation import GenerationDecoder
from bedside.runtime.tasks.protocol import (
    NotFiniteError,
    Scores,
    TaskDecoder,
    View,
    check_finite,
    dequantize,
)
from bedside.runtime.tasks.raw import RawDecoder
from bedside.runtime.tasks.reconstruction import ReconstructionDecoder
from bedside.runtime.tasks.segmentation import SegmentationDecoder
from bedside.runtime.tasks.translation import TranslationDecoder

__all__ = [
    "ClassificationDecoder",
    "DetectionDecoder",
    "GenerationDecoder",
    "NotFiniteError",
    "RawDecoder",
    "ReconstructionDecoder",
    "Scores",
    "SegmentationDecoder",
    "TaskDecoder",
    "TranslationDecoder",
    "View",
    "check_finite",
    "dequantize",
    "make_task",
]


def make_task(decode: Decode, *, top_k: int = 3, smoothing: float | None = None) -> TaskDecoder:
    """The decoder that a manifest asks for.

    Args:
        decode: Of the manifest.
        top_k: Classes per result, where results name classes.
        smoothing: Weight of the newest frame in the moving average of the scores, None for none.

    Raises:
        UsageError: An option is out of range, or smoothing is asked for where there is no score vector.
    """
    if isinstance(decode, ClassificationDecode):
        return ClassificationDecoder(decode, top_k=top_k, smoothing=smoothing)
    if smoothing is not None:
        task = type(decode).__struct_config__.tag
        raise UsageError(f"{task} outputs cannot be smoothed", hint="leave smoothing out")
    if isinstance(decode, SegmentationDecode):
        return SegmentationDecoder(decode)
    if isinstance(decode, DetectionDecode):
        return DetectionDecoder(decode)
    if isinstance(decode, ReconstructionDecode):
        return ReconstructionDecoder(decode)
    if isinstance(decode, TranslationDecode):
        return TranslationDecoder(decode)
    if isinstance(decode, GenerationDecode):
        return GenerationDecoder(decode)
    return RawDecoder()
