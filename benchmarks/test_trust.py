"""What trustworthy answers cost: calibration, prediction set, class activation map, and guard, beside the model.

The model is a MobileNetV2 in int8 with random weights, once as it is and once with everything; both run through
the loop that every frame goes through. Rounds alternate (A B B A); costs are medians of differences within a
round, so that a busy host moves both alike. Needs the `export` extra.
"""

from __future__ import annotations

import statistics
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from bedside.export.adopt.graph import Adopted, adopt
from bedside.export.convert.calibration import with_extremes
from bedside.export.convert.tflite import convert_tflite
from bedside.export.models.autoencoders import conv_autoencoder
from bedside.export.models.mobilenet import mobilenet
from bedside.runtime import engines
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Conformal,
    OutOfDistribution,
    ReconstructionDecode,
)
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    Variant,
    VariantGolden,
)
from bedside.runtime.clock import MonotonicClock
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.frame import Frame
from bedside.runtime.golden import GoldenReport
from bedside.runtime.latent import make_preprocess
from bedside.runtime.loading import Loaded
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Inference
from bedside.runtime.tasks import make_task

ROUNDS, FRAMES = 20, 20
LABELS = tuple(f"class {k}" for k in range(10))

#: Issue 3: together at most this fraction of the model's own int8 invocation, or so much, whichever is more.
SHARE, FLOOR_MS = 0.25, 0.3

OUT = OutOfDistribution(error_scale=10.0, distance_scale=3.0, threshold=1e9, false_alarm=0.01, samples=500)
REF = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)


def int8(adopted: Adopted, decode: Any, side: int) -> Loaded:
    """The adopted model in int8 on LiteRT with one thread, opened without goldens: only its speed is asked."""
    rng = np.random.default_rng(0)
    calibration = with_extremes(rng.integers(0, 256, (8, side, side, 3), np.uint8))
    data = convert_tflite(adopted.model, "int8", calibration)
    session = engines.compile_model("litert", data, "tflite", SessionOptions(threads=1))
    variant = Variant(
        id="tflite-int8",
        format="tflite",
        precision="int8",
        sha256="0" * 64,
        bytes=len(data),
        inputs=session.inputs,
        outputs=session.outputs,
    )
    model = Model(
        input=InputSpec(width=side, height=side),
        outputs=adopted.model.outputs,
        decode=decode,
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=REF),
            variants=(VariantGolden(variant=variant.id, outputs=(REF,), tolerance=0.05),),
        ),
        default=variant.id,
    )
    report = GoldenReport(
        engine="litert", variant=variant.id, tolerance=0.05, samples=0, error=0.0, errors=()
    )
    return Loaded(session, model, variant, report)


def loop(main: Loaded, guard: Guard | None = None) -> Inference:
    task = make_task(main.model.decode)
    return Inference(main, make_preprocess(main.model.input), task, MonotonicClock(), guard=guard)


def spent(infer: Inference, frames: list[Frame]) -> dict[str, float]:
    """Median time per stage and frame, in ms."""
    rows = np.array([infer(frames[i % len(frames)]).spent_ns for i in range(FRAMES)], np.float64)
    return dict(zip(infer.stages, (np.median(rows, axis=0) / 1e6).tolist(), strict=True))


@pytest.mark.parametrize(
    ("side", "multiplier", "guard_side", "sees"),
    [(224, 1.0, 64, "input"), (224, 1.0, 64, "frame"), (96, 0.35, 32, "input")],
)
def test_trust(benchmark, full_hd, side, multiplier, guard_side, sees, capsys):
    shape = {"width": side, "height": side, "classes": len(LABELS), "width_multiplier": multiplier}
    decode = ClassificationDecode(labels=LABELS)
    plain = int8(adopt(mobilenet(**shape, seed=1), "classification", LABELS), decode, side)
    mapped = adopt(mobilenet(**shape, maps=True, seed=1), "classification", LABELS)
    assert isinstance(mapped.decode, ClassificationDecode)
    assert mapped.decode.map is not None
    trusted = msgspec.structs.replace(
        mapped.decode, temperature=1.7, conformal=Conformal(coverage=0.9, threshold=0.05, samples=500)
    )
    full = int8(mapped, trusted, side)
    coder = adopt(conv_autoencoder(width=guard_side, height=guard_side, base=8, seed=1), "reconstruction")
    assert isinstance(coder.decode, ReconstructionDecode)
    watch = int8(coder, msgspec.structs.replace(coder.decode, out=OUT), guard_side)
    guard = Guard(watch, make_preprocess(watch.model.input), sees)

    frames = [Frame(pixels, k, 0) for k, pixels in enumerate(full_hd)]
    bare, whole = loop(plain), loop(full, guard)
    rows: list[tuple[dict[str, float], dict[str, float]]] = []

    def round_trip() -> None:
        if len(rows) % 2:
            b = spent(whole, frames)
            rows.append((spent(bare, frames), b))
        else:
            a = spent(bare, frames)
            rows.append((a, spent(whole, frames)))

    benchmark.group = "calibration, map and guard beside the model"
    round_trip()  # to warm up, not counted
    rows.clear()
    benchmark.pedantic(round_trip, rounds=ROUNDS)
    for loaded in (plain, full, watch):
        loaded.session.close()

    def cost(stage: str) -> float:
        return statistics.median(b[stage] - a.get(stage, 0.0) for a, b in rows)

    invoke = statistics.median(a["invoke"] for a, _ in rows)
    parts = {"map in the graph": cost("invoke"), "decode": cost("decode"), "guard": cost("guard")}
    together = statistics.median(
        sum(b[s] - a.get(s, 0.0) for s in ("guard", "invoke", "decode")) for a, b in rows
    )
    share = statistics.median(
        sum(b[s] - a.get(s, 0.0) for s in ("guard", "invoke", "decode")) / a["invoke"] for a, b in rows
    )
    benchmark.extra_info.update(invoke_ms=invoke, together_ms=together, share=share, **parts)
    with capsys.disabled():
        named = ", ".join(f"{name} {value * 1e3:+.0f} us" for name, value in parts.items())
        print(
            f"\nMobileNetV2 {multiplier:g} at {side} in int8, 1 thread: invoke {invoke:.2f} ms; guard of "
            f"{guard_side}x{guard_side} that sees the {sees}: {named}; together {together:.3f} ms, "
            f"{share:.1%} of invoke; budget {SHARE:.0%} or {FLOOR_MS} ms"
        )
    assert together <= max(SHARE * invoke, FLOOR_MS)
