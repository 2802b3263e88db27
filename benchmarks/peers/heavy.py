"""A deliberately slow model: residual 3x3 convolutions with drawn weights, as many as take the time asked for.

Full int8 with the contract of bedside's exports (uint8 RGB in, uint8 scores out), so that every candidate reads it.
Run as a process of its own, so that TensorFlow's memory and threads are gone when the comparison begins:

  python heavy.py OUT.tflite --target-ms 50 --threads 1 --size 64x64 --labels 3
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from timing import invoke_ms

from bedside.export.convert.quiet import quiet

CHANNELS = 64
#: Blocks of the two networks whose times say what a block costs.
PROBES = (2, 8)
MOST_BLOCKS = 400
#: How far from the time that is asked for a model may be, and how often it is built anew.
NEAR, TRIES = 0.12, 4


def network(width: int, height: int, labels: int, blocks: int) -> Any:
    """The float graph."""
    keras = tf.keras
    keras.utils.set_random_seed(0)
    pixels = keras.Input((height, width, 3), batch_size=1, name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(x)
    for _ in range(blocks):
        # Small steps: the sum keeps its range however deep the network is, and int8 keeps its answer.
        branch = keras.layers.Conv2D(
            CHANNELS, 3, padding="same", kernel_initializer=keras.initializers.VarianceScaling(0.02)
        )(x)
        x = keras.layers.Add()([x, branch])
    x = keras.layers.GlobalAveragePooling2D()(x)
    scores = keras.layers.Dense(labels, activation="softmax", name="scores")(x)
    return keras.Model(pixels, scores)


def convert(model: Any) -> bytes:
    """Full int8; the calibration set spans all pixel values, so that the input's scale is exactly 1."""
    shape = tuple(model.inputs[0].shape)
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, shape).astype(np.float32) for _ in range(4)]
    frames += [np.zeros(shape, np.float32), np.full(shape, 255, np.float32)]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([frame] for frame in frames)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def blocks_for(target_ms: float, times_ms: tuple[float, float]) -> int:
    """How many blocks take so long, by the line through the two probes."""
    each = (times_ms[1] - times_ms[0]) / (PROBES[1] - PROBES[0])
    if each <= 0:
        sys.exit(
            f"more blocks take no longer here ({times_ms[0]:.2f} and {times_ms[1]:.2f} ms): host too busy"
        )
    wanted = round(PROBES[0] + (target_ms - times_ms[0]) / each)
    return min(MOST_BLOCKS, max(1, wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--target-ms", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--labels", type=int, required=True)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))

    def build(blocks: int) -> bytes:
        with quiet():
            return convert(network(width, height, args.labels, blocks))

    few, many = (invoke_ms(build(blocks), args.threads) for blocks in PROBES)
    blocks = blocks_for(args.target_ms, (few, many))
    for _ in range(TRIES):
        data = build(blocks)
        took = invoke_ms(data, args.threads)
        if abs(took / args.target_ms - 1) < NEAR:
            break
        # Almost all of the time is in the blocks.
        blocks = min(MOST_BLOCKS, max(1, round(blocks * args.target_ms / took)))
    else:
        sys.exit(
            f"takes {took:.1f} ms where {args.target_ms:.1f} were asked for, {TRIES} times: host too busy"
        )
    partial = args.output.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(args.output)


if __name__ == "__main__":
    main()
