"""The least that a careful script does before its first result: `python minimal_start.py BUNDLE ENGINE VARIANT`.

The libraries that bedside imports for the same work, the model file out of the same bundle, its goldens replayed,
one frame of the echo cine resized and classified. Prints the monotonic stamp of that result, in ns. What it leaves
out is what bedside adds: digests, tensor contracts, the file's own bounds, accounting, sinks.
"""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile

import cv2
import msgspec  # noqa: F401  # bedside reads its manifest with it
import numpy as np
import psutil  # noqa: F401  # bedside looks at the host with it
import pydicom
import rich  # noqa: F401  # what `bedside run` prints with
from pydicom.data import get_testdata_file


def main() -> None:
    path, engine, name = sys.argv[1:]
    with zipfile.ZipFile(path) as bundle:
        model = json.loads(bundle.read("bundle.json"))["models"]["main"]
        variant = next(v for v in model["variants"] if v["id"] == name)
        golden = next(g for g in model["golden"]["variants"] if g["variant"] == name)
        data = bundle.read(variant["file"])
        inputs = np.load(io.BytesIO(bundle.read(model["golden"]["engine"]["input"]["file"])))
        outputs = [np.load(io.BytesIO(bundle.read(ref["file"]))) for ref in golden["outputs"]]
    run = litert(data) if engine == "litert" else onnxruntime(data)
    for k, sample in enumerate(inputs):
        for got, want, spec in zip(run(sample[None]), outputs, variant["outputs"], strict=True):
            real, scale = got[0].astype(np.float64), spec.get("quantization")
            if scale is not None:
                real = (real - scale.get("zero_point", 0)) * scale["scale"]
            error = np.abs(real - want[k]).max() / max(np.abs(want[k]).max(), 1e-9)
            assert error <= golden["tolerance"], f"golden {k} is off by {error}"
    cine = pydicom.dcmread(get_testdata_file("examples_ybr_color.dcm"))
    picture = np.asarray(pydicom.pixels.pixel_array(cine, index=0))
    size = (model["input"]["width"], model["input"]["height"])
    scores = run(cv2.resize(picture, size)[None])[0]
    int(scores.argmax())
    print(time.monotonic_ns())


def litert(data: bytes):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    entry, answers = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()

    def run(batch):
        interpreter.set_tensor(entry, batch)
        interpreter.invoke()
        return [interpreter.get_tensor(answer["index"]) for answer in answers]

    return run


def onnxruntime(data: bytes):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


if __name__ == "__main__":
    main()
