"""Tasks: what the output tensors mean."""

from bedside.runtime.bundle.manifest import ClassificationDecode, Decode
from bedside.runtime.errors import UsageError
from bedside.runtime.tasks.classification import ClassificationDecoder
from bedside.runtime.tasks.protocol import NotFiniteError, Scores, TaskDecoder, check_finite, dequantize
from bedside.runtime.tasks.raw import RawDecoder

__all__ = [
    "ClassificationDecoder",
    "NotFiniteError",
    "RawDecoder",
    "Scores",
    "TaskDecoder",
    "check_finite",
    "dequantize",
    "make_task",
]


def make_task(decode: Decode, *, top_k: int = 3, smoothing: float | None = None) -> TaskDecoder:
    """The decoder that a manifest asks for.

    Args:
        decode: Of the manifest.
        top_k: Classes per result.
        smoothing: Weight of the newest frame in the moving average of the scores, None for none.

    Raises:
        UsageError: An option is out of range, or smoothing is asked for where there are no scores.
    """
    if isinstance(decode, ClassificationDecode):
        return ClassificationDecoder(decode, top_k=top_k, smoothing=smoothing)
    if smoothing is not None:
        raise UsageError("raw outputs cannot be smoothed", hint="leave smoothing out")
    return RawDecoder()
