"""The plain OpenCV loop: read, resize, invoke, again."""

from __future__ import annotations

from classifier import Classifier
from job import Recorder, job


def main() -> None:
    orders, recorder = job(), Recorder()
    classify = Classifier(orders.model, orders.threads)
    capture = orders.open_clip()
    for seq, due in orders.turns():
        got, frame = capture.read()
        if not got:
            break
        recorder.add(seq, due, classify(frame))
    recorder.finish()
    orders.write(recorder)


if __name__ == "__main__":
    main()
