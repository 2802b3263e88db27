"""Resize, swap colours into the interpreter's own memory, invoke: what an engineer writes by hand, done well."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Classifier:
    """A `.tflite` classifier on LiteRT. One thread owns it.

    Args:
        path: `(1, H, W, 3) uint8` RGB in, `(1, K)` scores out.
        threads: Of the interpreter.
    """

    def __init__(self, path: str, threads: int) -> None:
        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        entry = self._interpreter.get_input_details()[0]
        _, height, width, channels = entry["shape"].tolist()
        self._size = (width, height)
        self._small = np.empty((height, width, channels), np.uint8)
        self._input: Any = self._interpreter.tensor(entry["index"])
        self._scores: Any = self._interpreter.tensor(self._interpreter.get_output_details()[0]["index"])

    def __call__(self, frame: np.ndarray) -> int:
        """The best class of a BGR frame, `(H, W, 3) uint8`."""
        cv2.resize(frame, self._size, dst=self._small, interpolation=cv2.INTER_LINEAR)
        # Without a name: the interpreter refuses to run while somebody holds its memory.
        cv2.cvtColor(self._small, cv2.COLOR_BGR2RGB, dst=self._input()[0])
        self._interpreter.invoke()
        return int(self._scores()[0].argmax())
