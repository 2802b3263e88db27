"""How long a model takes on LiteRT, alone."""

from __future__ import annotations

import statistics
import time

import numpy as np

#: Measured for so long, in seconds, and at least so many times.
SECONDS, REPEATS = 0.5, 5


def invoke_ms(data: bytes, threads: int) -> float:
    """Median of bare invokes, in ms; the first is not counted.

    Args:
        data: A `.tflite` file.
        threads: Of the interpreter.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    picture = np.random.default_rng(0).integers(0, 256, entry["shape"]).astype(entry["dtype"])
    interpreter.set_tensor(entry["index"], picture)
    interpreter.invoke()
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < REPEATS or time.perf_counter() < until:
        begun = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)
