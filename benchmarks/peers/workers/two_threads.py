"""The best loop that is written by hand: one thread captures, one infers, a queue of one between them.

Live, a new frame replaces one that waits; from a file, the capture waits. Frames travel in three buffers that are
used again, so that nothing is allocated per frame.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

import cv2
import numpy as np
from classifier import Classifier
from job import Job, Recorder, job

#: One is being written, one waits, one is being read.
BUFFERS = 3

Item = tuple[int, int, np.ndarray]


class Slot:
    """A queue of one frame."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False

    def put(self, item: Item, *, wait: bool) -> Item | None:
        """Leave a frame.

        Args:
            item: Number, due time, pixels.
            wait: Until the slot is empty, instead of replacing what is in it.

        Returns:
            The frame that was replaced.
        """
        with self._changed:
            while wait and self._item is not None:
                self._changed.wait()
            replaced, self._item = self._item, item
            self._changed.notify_all()
        return replaced

    def get(self) -> Item | None:
        """Take the frame; None when there will be no more."""
        with self._changed:
            while self._item is None and not self._closed:
                self._changed.wait()
            item, self._item = self._item, None
            self._changed.notify_all()
        return item

    def close(self) -> None:
        """There will be no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def capture_all(orders: Job, capture: cv2.VideoCapture, slot: Slot, free: SimpleQueue[np.ndarray]) -> None:
    for seq, due in orders.turns():
        buffer = free.get()
        got, frame = capture.read(buffer)
        if not got:
            break
        replaced = slot.put((seq, due, frame), wait=not orders.live)
        if replaced is not None:
            free.put(replaced[2])
    slot.close()


def main() -> None:
    orders, recorder, slot = job(), Recorder(), Slot()
    classify = Classifier(orders.model, orders.threads)
    capture = orders.open_clip()
    shape = (
        int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        3,
    )
    free: SimpleQueue[np.ndarray] = SimpleQueue()
    for _ in range(BUFFERS):
        free.put(np.empty(shape, np.uint8))
    thread = threading.Thread(target=capture_all, args=(orders, capture, slot, free), daemon=True)
    thread.start()
    while (item := slot.get()) is not None:
        seq, due, frame = item
        recorder.add(seq, due, classify(frame))
        free.put(frame)
    recorder.finish()
    orders.write(recorder)


if __name__ == "__main__":
    main()
