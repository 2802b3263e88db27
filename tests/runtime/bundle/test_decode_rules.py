"""What `decode` may say of the tensors, task by task, and what only a newer runtime understands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bedside.runtime.bundle import rules
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Conformal,
    Decode,
    DetectionDecode,
    GenerationDecode,
    OutOfDistribution,
    RawDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.bundle.decode_rules import task_of
from bedside.runtime.bundle.manifest import (
    Evaluation,
    HostSpeed,
    InputSpec,
    Manifest,
    Model,
    Quantization,
    TensorSpec,
)

replace = msgspec.structs.replace

LABELS = ("background", "nerve", "vessel")
OUT = OutOfDistribution(error_scale=4.0, threshold=1.0, false_alarm=0.01, samples=500)
FAR = OutOfDistribution(error_scale=4.0, distance_scale=1.0, threshold=1.0, false_alarm=0.01, samples=500)
PIXELS = InputSpec(width=32, height=32)
LATENT = InputSpec(width=28, height=28, dtype="float32", latent=100)


def model(base: Model, decode: Decode, shapes: Any, spec: InputSpec = PIXELS) -> Model:
    """The model of `base` with other outputs, as often as it has variants."""
    dtypes = [s[1] if isinstance(s, tuple) and isinstance(s[1], str) else "float32" for s in shapes]
    plain = [s[0] if isinstance(s, tuple) and isinstance(s[1], str) else s for s in shapes]
    outputs = tuple(
        TensorSpec(name=f"out{k}", shape=tuple(shape), dtype=dtype)  # type: ignore[arg-type]
        for k, (shape, dtype) in enumerate(zip(plain, dtypes, strict=True))
    )
    entry = TensorSpec(name="x", shape=spec.shape, dtype=spec.dtype, quantization=spec.quantization)
    variants = tuple(replace(v, inputs=(entry,), outputs=outputs) for v in base.variants)
    goldens = tuple(replace(g, outputs=g.outputs[:1] * len(outputs)) for g in base.golden.variants)
    return replace(
        base,
        input=spec,
        outputs=tuple(o.name for o in outputs),
        decode=decode,
        variants=variants,
        golden=replace(base.golden, variants=goldens),
    )


def manifest(content: Any, decode: Decode, shapes: Any, spec: InputSpec = PIXELS) -> Manifest:
    base: Manifest = content[0]
    main = model(base.main, decode, shapes, spec)
    task: Any = "embedding" if isinstance(decode, RawDecode) else task_of(main)
    return replace(base, task=task, models={"main": main}, min_runtime="0.2.0")


def refusal(made: Manifest) -> str:
    with pytest.raises(ValueError) as caught:
        rules.check(made)
    message = str(caught.value)
    assert "\n" not in message
    return message


GOOD: list[tuple[Decode, Any, InputSpec]] = [
    (ClassificationDecode(labels=LABELS, map=1), [(1, 3), (1, 7, 7, 3)], PIXELS),
    (SegmentationDecode(labels=LABELS), [(1, 32, 32, 3)], PIXELS),
    (SegmentationDecode(labels=LABELS, layout="nchw"), [(1, 3, 16, 16)], PIXELS),
    (SegmentationDecode(labels=LABELS[:2]), [(1, 8, 8, 1)], PIXELS),
    (SegmentationDecode(labels=LABELS[:2]), [(1, 8, 8, 2)], PIXELS),
    (SegmentationDecode(labels=LABELS[:2], layout="nchw"), [(1, 1, 8, 8)], PIXELS),
    (SegmentationDecode(labels=LABELS, scores="labels"), [((1, 32, 32), "int64")], PIXELS),
    (SegmentationDecode(labels=LABELS, scores="labels"), [((1, 32, 32, 1), "uint8")], PIXELS),
    (DetectionDecode(labels=LABELS), [(1, 100, 4), (1, 100, 3)], PIXELS),
    (DetectionDecode(labels=LABELS, background="last"), [(1, 100, 4), (1, 100, 4)], PIXELS),
    (
        DetectionDecode(labels=LABELS, boxes=(0, 2), scores=(1, 3), coding="ltrb", units="cells"),
        [(1, 8, 8, 4), (1, 8, 8, 3), (1, 4, 4, 4), (1, 4, 4, 3)],
        PIXELS,
    ),
    (ReconstructionDecode(code=1, out=FAR), [(1, 32, 32, 3), (1, 16)], PIXELS),
    (ReconstructionDecode(), [(1, 32, 32, 3)], replace(PIXELS, quantization=Quantization(scale=1.0))),
    (TranslationDecode(), [(1, 64, 64, 3)], PIXELS),
    (TranslationDecode(color="gray"), [(1, 32, 32, 1)], PIXELS),
    (GenerationDecode(), [(1, 28, 28, 3)], LATENT),
    (RawDecode(), [(1, 7), (1, 2, 3)], PIXELS),
]


@pytest.mark.parametrize(("decode", "shapes", "spec"), GOOD, ids=lambda v: str(v)[:60])
def test_what_fits_is_accepted_and_comes_back(
    decode: Decode, shapes: Any, spec: InputSpec, content: Any
) -> None:
    made = manifest(content, decode, shapes, spec)
    rules.check(made)
    assert rules.decode(rules.encode(made), "0.2.0") == made


BAD: list[tuple[Decode, Any, InputSpec, str]] = [
    (ClassificationDecode(labels=LABELS, map=2), [(1, 3), (1, 7, 7, 3)], PIXELS, "decode.map: 2"),
    (ClassificationDecode(labels=LABELS, map=1), [(1, 3), (1, 7, 7, 4)], PIXELS, "[1, ?, ?, 3]"),
    (SegmentationDecode(labels=LABELS), [(1, 32, 32, 4)], PIXELS, "a map of 3 classes is [1, ?, ?, 3]"),
    (SegmentationDecode(labels=LABELS), [(1, 32, 32)], PIXELS, "a map of 3 classes"),
    (SegmentationDecode(labels=LABELS), [(1, 32, 32, 1)], PIXELS, "a map of 3 classes"),
    (SegmentationDecode(labels=LABELS, layout="nchw"), [(1, 32, 32, 3)], PIXELS, "[1, 3, ?, ?]"),
    (SegmentationDecode(labels=LABELS, scores="labels"), [((1, 32, 32, 3), "uint8")], PIXELS, "[1, ?, ?, 1]"),
    (SegmentationDecode(labels=LABELS, output=1), [(1, 32, 32, 3)], PIXELS, "decode.output: 1"),
    (DetectionDecode(labels=LABELS), [(1, 100, 5), (1, 100, 3)], PIXELS, "boxes is [1, ?, 4]"),
    (DetectionDecode(labels=LABELS), [(1, 100, 4), (1, 100, 4)], PIXELS, "scores is [1, 100, 3]"),
    (DetectionDecode(labels=LABELS), [(1, 100, 4), (1, 90, 3)], PIXELS, "scores is [1, 100, 3]"),
    (DetectionDecode(labels=LABELS, scores=(2,)), [(1, 9, 4), (1, 9, 3)], PIXELS, "decode.scores.0: 2"),
    (DetectionDecode(labels=LABELS, boxes=(0, 1)), [(1, 9, 4), (1, 9, 3)], PIXELS, "2 boxes and 1 scores"),
    (DetectionDecode(labels=LABELS, coding="ltrb"), [(1, 9, 4), (1, 9, 3)], PIXELS, "[1, ?, ?, 4]"),
    (DetectionDecode(labels=LABELS, units="cells"), [(1, 9, 4), (1, 9, 3)], PIXELS, "'ltrb'"),
    (ReconstructionDecode(), [(1, 16, 16, 3)], PIXELS, "a reconstruction is [1, 32, 32, 3]"),
    (ReconstructionDecode(code=1), [(1, 32, 32, 3), (1, 4, 4)], PIXELS, "a code is [1, ?]"),
    (ReconstructionDecode(code=1), [(1, 32, 32, 3)], PIXELS, "decode.code: 1"),
    (ReconstructionDecode(out=FAR), [(1, 32, 32, 3)], PIXELS, "no output is the code"),
    (ReconstructionDecode(low=1.0, high=1.0), [(1, 32, 32, 3)], PIXELS, "no range"),
    (ReconstructionDecode(), [(1, 32, 32, 3)], replace(PIXELS, dtype="float32"), "uint8 nhwc pixels"),
    (ReconstructionDecode(), [(1, 3, 32, 32)], replace(PIXELS, layout="nchw"), "uint8 nhwc pixels"),
    (
        ReconstructionDecode(),
        [(1, 32, 32, 3)],
        replace(PIXELS, quantization=Quantization(scale=0.5)),
        "uint8 nhwc pixels",
    ),
    (TranslationDecode(), [(1, 32, 32, 1)], PIXELS, "a rgb picture is [1, ?, ?, 3]"),
    (TranslationDecode(), [(1, 32, 32, 3)], replace(PIXELS, color="bgr"), "input.color"),
    (TranslationDecode(low=2.0), [(1, 32, 32, 3)], PIXELS, "no range"),
    (GenerationDecode(), [(1, 28, 28, 3)], PIXELS, "generation takes a latent"),
    (GenerationDecode(), [(1, 14, 14, 3)], LATENT, "a rgb picture is [1, 28, 28, 3]"),
    (ClassificationDecode(labels=LABELS), [(1, 3)], LATENT, "generation takes a latent"),
    (RawDecode(), [(1, 3)], LATENT, "generation takes a latent"),
    (GenerationDecode(), [(1, 28, 28, 3)], replace(LATENT, dtype="uint8"), "is float32"),
    (GenerationDecode(), [(1, 28, 28, 3)], replace(LATENT, quantization=Quantization(scale=1.0)), "no quant"),
]


@pytest.mark.parametrize(("decode", "shapes", "spec", "named"), BAD, ids=lambda v: str(v)[:60])
def test_what_does_not_fit_is_refused_and_named(
    decode: Decode, shapes: Any, spec: InputSpec, named: str, content: Any
) -> None:
    assert named in refusal(manifest(content, decode, shapes, spec))


def test_the_task_is_that_of_decode(content: Any) -> None:
    made = manifest(content, SegmentationDecode(labels=LABELS), [(1, 32, 32, 3)])
    message = refusal(replace(made, task="detection"))
    assert message == "task is 'detection' but models.main.decode is 'segmentation'"


class TestGuard:
    def guarded(self, content: Any, decode: Decode, **fields: Any) -> Manifest:
        made: Manifest = content[0]
        guard = model(made.main, decode, [(1, 32, 32, 3), (1, 16)])
        return replace(made, models={"main": made.main, "guard": guard}, **{"min_runtime": "0.2.0", **fields})

    @pytest.mark.parametrize("sees", ["frame", "input"])
    def test_a_reconstruction_with_a_threshold(self, content: Any, sees: Any) -> None:
        made = self.guarded(content, ReconstructionDecode(code=1, out=FAR), guard_sees=sees)
        assert rules.decode(rules.encode(made), "0.2.0") == made

    @pytest.mark.parametrize("decode", [ReconstructionDecode(code=1), RawDecode()])
    def test_anything_else_is_refused(self, content: Any, decode: Decode) -> None:
        assert "a guard is a reconstruction with `out`" in refusal(self.guarded(content, decode))

    def test_it_needs_a_newer_runtime(self, content: Any) -> None:
        made = self.guarded(content, ReconstructionDecode(out=OUT), min_runtime="0.1.0")
        assert refusal(made) == "min_runtime: '0.1.0', but keys are used that need '0.2.0'"

    def test_the_input_can_be_seen_only_as_pixels(self, content: Any) -> None:
        made = self.guarded(content, ReconstructionDecode(out=OUT), guard_sees="input")
        spec = replace(PIXELS, dtype="float32")
        main = model(made.main, ClassificationDecode(labels=LABELS), [(1, 3)], spec)
        assert "guard_sees: 'input', but models.main.input is float32 nhwc" in refusal(
            replace(made, models={**made.models, "main": main})
        )

    def test_there_is_nothing_to_see_of_a_latent(self, content: Any) -> None:
        made = self.guarded(content, ReconstructionDecode(out=OUT), task="generation")
        main = model(made.main, GenerationDecode(), [(1, 28, 28, 3)], LATENT)
        assert "draws a latent of 100" in refusal(replace(made, models={**made.models, "main": main}))

    def test_what_it_sees_needs_one(self, content: Any) -> None:
        assert refusal(replace(content[0], guard_sees="input", min_runtime="0.2.0")) == (
            "guard_sees: 'input', but there is no models.guard"
        )


class TestOldestRuntime:
    def test_plain_classification_and_raw_outputs_run_on_the_first(self, content: Any) -> None:
        assert rules.oldest_runtime(content[0]) == "0.1.0"
        assert rules.oldest_runtime(manifest(content, RawDecode(), [(1, 3)])) == "0.1.0"

    @pytest.mark.parametrize(
        "fields",
        [
            {"temperature": 1.5},
            {"conformal": Conformal(coverage=0.9, threshold=0.1, samples=10)},
            {"map": 1},
        ],
    )
    def test_calibration_and_maps_do_not(self, content: Any, fields: Any) -> None:
        made = manifest(content, ClassificationDecode(labels=LABELS, **fields), [(1, 3), (1, 2, 2, 3)])
        assert rules.oldest_runtime(made) == "0.2.0"
        assert "0.2.0" in refusal(replace(made, min_runtime="0.1.0"))

    @pytest.mark.parametrize(
        "fields",
        [
            {"others": {"AP50:95": 0.4}},
            {"kept_float": ("decoder/conv1",)},
            {"speed": HostSpeed(host="x", threads=1, invoke_ms=1.0, reference_ms=2.0)},
        ],
    )
    def test_new_figures_do_not(self, content: Any, fields: Any) -> None:
        main = content[0].main
        evaluated = replace(
            main.variants[0], evaluation=Evaluation(metric="accuracy", value=0.9, samples=9, **fields)
        )
        made = replace(content[0], models={"main": replace(main, variants=(evaluated, *main.variants[1:]))})
        assert rules.oldest_runtime(made) == "0.2.0"
