"""TensorBoard logs of a training, whatever its loop is.

The events are written by TensorFlow itself: `tf.summary.scalar` is a part of TensorBoard, which nobody needs to
have installed to train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bedside.export.training.progress import EpochReport, TrainingProgress


class TensorBoardLogs:
    """Writes scalars per epoch, and passes everything on.

    Args:
        shown: Who watches.
        folder: Where the logs go: `train/` and `validation/` below it.
    """

    def __init__(self, shown: TrainingProgress, folder: Path) -> None:
        self._shown, self._folder = shown, folder
        self._writers: dict[str, Any] = {}

    def begin(self, epochs: int, steps: int, first_epoch: int) -> None:
        """See `TrainingProgress`."""
        import tensorflow as tf

        for name in ("train", "validation"):
            self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        self._shown.begin(epochs, steps, first_epoch)

    def step(self, epoch: int, step: int) -> None:
        """See `TrainingProgress`."""
        self._shown.step(epoch, step)

    def epoch(self, report: EpochReport) -> None:
        """See `TrainingProgress`."""
        self._write("train", report.epoch, {"loss": report.loss, report.metric: report.score})
        self._write("validation", report.epoch, {"loss": report.val_loss, report.metric: report.val_score})
        self._shown.epoch(report)

    def end(self) -> None:
        """See `TrainingProgress`."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
        self._shown.end()

    def _write(self, name: str, epoch: int, values: dict[str, float | None]) -> None:
        import tensorflow as tf

        proto = tf.compat.v1.SummaryMetadata
        # What tells TensorBoard to draw a curve (tensorboard/plugins/scalar/metadata.py).
        scalar = proto(plugin_data=proto.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR")
        with self._writers[name].as_default():
            for tag, value in values.items():
                if tag and value is not None:
                    tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch, metadata=scalar)
        self._writers[name].flush()


def logged(shown: TrainingProgress, folder: Path, *, wanted: bool) -> TrainingProgress:
    """Who watches, with logs where they are wanted."""
    return TensorBoardLogs(shown, folder / "tensorboard") if wanted else shown
