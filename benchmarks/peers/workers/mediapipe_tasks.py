"""MediaPipe Tasks: `ImageClassifier`, in live stream mode on a live stream, in video mode on a file.

As its documentation shows it. It takes the very `.tflite` file: with a uint8 input it needs no metadata. Live, its
own flow limiter drops frames; in video mode every call waits for its answer.
"""

from __future__ import annotations

from typing import Any

import cv2
import mediapipe as mp
from job import Job, Recorder, job
from mediapipe.tasks.python import BaseOptions, vision


def options(orders: Job, **more: Any) -> vision.ImageClassifierOptions:
    # There is no option for threads; on Linux its delegate takes one (mediapipe, `inference_calculator_utils.cc`).
    return vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=orders.model), max_results=1, **more
    )


def image(frame: Any) -> mp.Image:
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def best(result: Any) -> int:
    return int(result.classifications[0].categories[0].index)


def stamp(seq: int, fps: float) -> int:
    """What the graph takes for the frame's time, in whole ms; strictly ascending below 1,000 frames/s."""
    return int(seq * 1000 / fps)


def live(orders: Job, recorder: Recorder) -> None:
    sent: dict[int, tuple[int, int]] = {}

    def see(result: Any, _image: Any, stamp_ms: int) -> None:
        seq, due = sent[stamp_ms]
        recorder.add(seq, due, best(result))

    classifier = vision.ImageClassifier.create_from_options(
        options(orders, running_mode=vision.RunningMode.LIVE_STREAM, result_callback=see)
    )
    capture = orders.open_clip()
    for seq, due in orders.turns():
        got, frame = capture.read()
        if not got:
            break
        stamp_ms = stamp(seq, orders.fps)
        sent[stamp_ms] = (seq, due)
        classifier.classify_async(image(frame), stamp_ms)
    classifier.close()  # waits for what is under way
    recorder.finish()


def recorded(orders: Job, recorder: Recorder) -> None:
    classifier = vision.ImageClassifier.create_from_options(
        options(orders, running_mode=vision.RunningMode.VIDEO)
    )
    capture = orders.open_clip()
    for seq, due in orders.turns():
        got, frame = capture.read()
        if not got:
            break
        recorder.add(seq, due, best(classifier.classify_for_video(image(frame), stamp(seq, orders.fps))))
    recorder.finish()
    classifier.close()


def main() -> None:
    orders, recorder = job(), Recorder()
    (live if orders.live else recorded)(orders, recorder)
    orders.write(recorder)


if __name__ == "__main__":
    main()
