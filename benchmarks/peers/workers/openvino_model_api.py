"""OpenVINO Model API: `ClassificationModel`, asynchronous, its preprocessing inside the compiled graph.

Live, a frame is given to it when it is ready, and dropped otherwise, which is kinder than the loop of its demos,
which never drops. From a file, two requests take turns.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from job import Recorder, job
from model_api.models import ClassificationModel


class Dequantized(ClassificationModel):  # type: ignore[misc]
    """Scores as numbers between 0 and 1.

    Version 0.4.7 applies a softmax to uint8 scores in uint8 arithmetic, which wraps around, and takes the worst
    class for the best.
    """

    __model__ = "Dequantized"

    def postprocess(self, outputs: dict[str, Any], meta: dict[str, Any]) -> Any:
        scaled = {
            name: values / np.float32(256) if values.dtype == np.uint8 else values
            for name, values in outputs.items()
        }
        return super().postprocess(scaled, meta)


def main() -> None:
    orders, recorder = job(), Recorder()
    capture = orders.open_clip()
    model = Dequantized.create_model(
        orders.model,
        model_type="Dequantized",
        device="CPU",
        nstreams="1",
        nthreads=orders.threads,
        max_num_requests=1 if orders.live else 2,
        configuration={
            "labels": list(orders.labels),
            "topk": 1,
            "reverse_input_channels": True,
            # A fixed size of frames spares it shapes that change.
            "input_frame_height": int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            "input_frame_width": int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        },
    )

    def see(result: Any, mark: tuple[int, int]) -> None:
        seq, due = mark
        recorder.add(seq, due, int(result.top_labels[0].id))

    model.set_callback(see)
    for seq, due in orders.turns():
        got, frame = capture.read()
        if not got:
            break
        if not orders.live:
            model.await_any()
        elif not model.is_ready():
            continue
        model.infer_async(frame, (seq, due))
    model.await_all()
    recorder.finish()
    orders.write(recorder)


if __name__ == "__main__":
    main()
