"""Goldens: what counts as the same answer, and what is caught."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bedside.runtime import engines, golden
from bedside.runtime.bundle.decode import ClassificationDecode, Decode, RawDecode, SegmentationDecode
from bedside.runtime.bundle.manifest import (
    MAX_TOLERANCE,
    FileRef,
    InputSpec,
    Manifest,
    Normalization,
    Quantization,
    TensorSpec,
    Variant,
)
from bedside.runtime.bundle.reader import load_npy
from bedside.runtime.engines import Session, SessionOptions
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.golden import (
    GoldenReport,
    label_outputs,
    output_error,
    output_scale,
    pixel_difference,
    relative_error,
    replay,
)
from bedside.runtime.testing.sessions import FakeSession

Array = npt.NDArray[Any]


class InMemory:
    """A bundle whose members can be changed after the fact, which no file allows."""

    def __init__(self, manifest: Manifest, members: dict[str, bytes]) -> None:
        self.manifest = manifest
        self.path = "memory"
        self.members = members
        self.changed: dict[str, Array] = {}

    def read(self, name: str) -> bytes:
        return self.members[name]

    def array(self, ref: FileRef) -> Array:
        return self.changed[ref.file] if ref.file in self.changed else load_npy(self.members[ref.file])


@pytest.fixture
def bundle(built: tuple[Manifest, dict[str, bytes]]) -> Any:
    """An in-memory bundle; `Any`, for it stands in for `Bundle`."""
    return InMemory(*built)


def variant_of(bundle: Any, name: str) -> Variant:
    found = bundle.manifest.main.variant(name)
    assert found is not None
    return found  # type: ignore[no-any-return]


def open_variant(bundle: Any, name: str, engine: str | None = None) -> Session:
    variant = variant_of(bundle, name)
    data = bundle.read(variant.file)
    return engines.compile_model(
        engine or engines.preference(variant.format)[0], data, variant.format, SessionOptions()
    )


def replayed(bundle: Any, session: Session, name: str) -> GoldenReport:
    return replay(session, bundle, role="main", variant=variant_of(bundle, name))


def test_every_variant_holds_on_every_engine_here(bundle: Any) -> None:
    for variant in bundle.manifest.main.shipped:
        for engine in engines.preference(variant.format):
            if not engines.status(engine).available:
                continue
            session = open_variant(bundle, variant.id, engine)
            report = replayed(bundle, session, variant.id)
            session.close()
            assert report.ok, report
            assert (report.engine, report.variant) == (engine, variant.id)
            assert (report.samples, report.frames, report.pixels) == (5, 3, 0.0)
            assert report.error <= report.tolerance


def fake(bundle: Any, name: str, change: Callable[[int, Array], Array]) -> FakeSession:
    """A session that knows the answers by heart and changes them: `change(call, answer)`."""
    variant = variant_of(bundle, name)
    samples = bundle.array(bundle.manifest.main.golden.engine.input)
    answers = next(g for g in bundle.manifest.main.golden.variants if g.variant == name)
    (expected,) = (bundle.array(ref) for ref in answers.outputs)
    calls = iter(range(1000))

    def answer(inputs: tuple[Array, ...]) -> list[Array]:
        distance = np.abs(samples.astype(int) - inputs[0]).reshape(len(samples), -1).max(axis=1)
        return [change(next(calls), expected[int(distance.argmin())])[None]]

    float_outputs = [
        TensorSpec(name=spec.name, shape=spec.shape, dtype="float32") for spec in variant.outputs
    ]
    return FakeSession(variant.inputs, float_outputs, answer)


def float_variant(bundle: Any) -> str:
    """A variant whose outputs are float32, so that any value can be an answer."""
    return next(v.id for v in bundle.manifest.main.shipped if v.outputs[0].dtype == "float32")


@pytest.mark.fault("B11")
@pytest.mark.parametrize("call", [0, 4])
def test_a_wrong_answer_to_any_sample_is_caught(bundle: Any, call: int) -> None:
    name = float_variant(bundle)
    session = fake(bundle, name, lambda k, right: right + np.float32(0.02 if k == call else 0.0))
    report = replayed(bundle, session, name)
    assert not report.ok
    assert report.error == pytest.approx(report.errors[0])
    assert report.error > report.tolerance == 0.001
    assert report.reason == f"the output 'scores' is off by {report.error:.3g}, allowed is 0.001"


def test_a_small_difference_is_allowed(bundle: Any) -> None:
    name = float_variant(bundle)
    report = replayed(bundle, fake(bundle, name, lambda k, right: right + np.float32(1e-5)), name)
    assert report.ok
    assert 0 < report.error < 1e-4


@pytest.mark.fault("B12")
def test_an_answer_that_is_not_finite_is_caught(bundle: Any) -> None:
    name = float_variant(bundle)
    report = replayed(bundle, fake(bundle, name, lambda k, right: right * np.float32(np.nan)), name)
    assert not report.ok
    assert report.error == math.inf


@pytest.mark.fault("B11")
def test_a_wrong_answer_to_a_frame_is_caught(bundle: Any) -> None:
    """Samples 0 to 4 are right, then the golden frames: the second of them is answered wrongly."""
    name = float_variant(bundle)
    session = fake(bundle, name, lambda k, right: right + np.float32(0.02 if k == 6 else 0.0))
    report = replayed(bundle, session, name)
    assert not report.ok
    assert report.error == 0.0
    assert report.frame_error is not None
    assert report.frame_error > 0.001
    assert report.reason is not None
    assert report.reason.startswith("the answer to golden/main-frame-1.npy is off by")


def shift_sample(bundle: Any, codes: int) -> None:
    """Make preprocess on this host differ from the stored sample of the first golden frame."""
    ref = bundle.manifest.main.golden.engine.input
    samples = bundle.array(ref).copy()
    inside = samples[0][samples[0] < 200]
    assert inside.size
    samples[0] = np.where(samples[0] < 200, samples[0] + codes, samples[0])
    bundle.changed[ref.file] = samples


@pytest.mark.fault("B11")
def test_preprocess_that_differs_is_caught(bundle: Any) -> None:
    shift_sample(bundle, 3)
    name = float_variant(bundle)
    report = replayed(bundle, fake(bundle, name, lambda k, right: right), name)
    assert not report.ok
    assert report.pixels == 3.0
    assert report.reason == "preprocess of golden/main-frame-0.npy is off by 3 codes, allowed is 2"


@pytest.mark.parametrize(
    ("off", "ok"), [(0.0, True), (0.05, True), (MAX_TOLERANCE * 1.5, False)], ids=["exact", "near", "far"]
)
def test_within_the_pixel_tolerance_the_answer_is_held_to_the_cap(bundle: Any, off: float, ok: bool) -> None:
    shift_sample(bundle, 2)
    name = float_variant(bundle)
    largest = np.abs(bundle.array(bundle.manifest.main.golden.variants[1].outputs[0])).max()
    session = fake(bundle, name, lambda k, right: right + np.float32(off * largest if k == 5 else 0.0))
    report = replayed(bundle, session, name)
    assert report.pixels == 2.0
    assert report.ok is ok


def test_frames_are_decoded_too(bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = golden.make_task

    def watched(decode: Any) -> Any:
        task = real(decode)
        seen.append(task)
        return task

    monkeypatch.setattr(golden, "make_task", watched)
    session = open_variant(bundle, "tflite-int8")
    assert replayed(bundle, session, "tflite-int8").ok
    session.close()
    assert len(seen) == 1


@pytest.mark.parametrize("member", ["input", "output"])
@pytest.mark.parametrize("change", [lambda a: a[:, :2], lambda a: a.astype(np.int16), lambda a: a[:0]])
def test_goldens_that_do_not_fit_the_model(
    bundle: Any, member: str, change: Callable[[Array], Array]
) -> None:
    record = bundle.manifest.main.golden
    answers = next(g for g in record.variants if g.variant == "tflite-int8")
    ref = record.engine.input if member == "input" else answers.outputs[0]
    bundle.changed[ref.file] = change(bundle.array(ref))
    session = open_variant(bundle, "tflite-int8")
    with pytest.raises(BundleError, match=rf"{ref.file}: is \[.*the model needs \["):
        replayed(bundle, session, "tflite-int8")
    session.close()


def test_a_golden_frame_that_is_no_picture(bundle: Any) -> None:
    ref = bundle.manifest.main.golden.frames[0].frame
    bundle.changed[ref.file] = np.zeros((4, 4), np.uint8)
    session = open_variant(bundle, "tflite-int8")
    with pytest.raises(BundleError, match=f"{ref.file}: a bgr frame is"):
        replayed(bundle, session, "tflite-int8")
    session.close()


def test_a_report_is_plain_data() -> None:
    report = GoldenReport(engine="e", variant="v", tolerance=0.1, samples=1, error=0.0, errors=(0.0,))
    assert msgspec.to_builtins(report)["reason"] is None
    assert report.ok


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.5, -2.0], [0.0, -2.0], 0.25),
        ([0.1, 0.0], [0.0, 0.0], 0.1),
        ([np.nan, 2.0], [1.0, 2.0], math.inf),
        ([np.inf, 2.0], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [np.nan, 2.0], math.inf),
        ([], [], 0.0),
    ],
)
def test_relative_error(got: list[float], expected: list[float], error: float) -> None:
    found = relative_error(np.array(got, np.float32), np.array(expected, np.float32))
    assert found == pytest.approx(error, abs=1e-7)


def test_relative_error_of_a_part_uses_the_scale_of_the_whole() -> None:
    assert relative_error(np.array([0.02]), np.array([0.01]), scale=1.0) == pytest.approx(0.01)


def test_relative_error_of_integers_does_not_wrap() -> None:
    assert relative_error(np.array([0], np.uint8), np.array([255], np.uint8)) == 1.0


def test_relative_error_of_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"\[2\] and \[2, 1\]"):
        relative_error(np.zeros(2), np.zeros((2, 1)))


def test_pixel_difference_is_in_codes() -> None:
    spec = InputSpec(width=1, height=1)
    assert pixel_difference(np.array([3, 250], np.uint8), np.array([5, 250], np.uint8), spec) == 2
    real = InputSpec(
        width=1, height=1, dtype="float32", normalization=Normalization(mean=(127.5,), std=(127.5,))
    )
    assert pixel_difference(np.array([1 / 127.5]), np.array([0.0]), real) == pytest.approx(1)
    assert pixel_difference(np.array([np.nan]), np.array([0.0]), real) == math.inf


def test_classes_are_counted_not_subtracted() -> None:
    expected = np.zeros((10, 10), np.float32)
    got = expected.copy()
    got[0, :3] = 6.0
    assert output_error(got, expected, labels=True) == 0.03
    assert output_error(got, expected, labels=False) == 6.0
    with pytest.raises(ValueError, match="shapes differ"):
        output_error(got[:5], expected, labels=True)


def test_one_step_of_a_quantized_output_is_never_more_than_int8_may_differ() -> None:
    spec = TensorSpec(name="code", shape=(1, 3), dtype="int8", quantization=Quantization(scale=0.1))
    small, large = np.array([[0.1, 0.2, -0.3]], np.float32), np.array([[0.1, 9.0, 0.0]], np.float32)
    assert output_scale(small, spec) == pytest.approx(2.0)
    assert output_scale(large, spec) == 9.0
    off = relative_error(small + np.float32(0.1), small, output_scale(small, spec))
    assert off == pytest.approx(0.05)
    plain = TensorSpec(name="code", shape=(1, 3), dtype="float32")
    assert output_scale(small, plain) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("decode", "dtype", "quantization", "label"),
    [
        (SegmentationDecode(labels=("a", "b"), scores="labels"), "uint8", None, True),
        (SegmentationDecode(labels=("a", "b"), scores="labels"), "int64", None, True),
        (SegmentationDecode(labels=("a", "b")), "uint8", None, False),
        (RawDecode(), "uint8", None, False),
        (RawDecode(), "int64", None, True),
        (RawDecode(), "bool", None, True),
        (RawDecode(), "float32", None, False),
        (RawDecode(), "int32", Quantization(scale=0.1), False),
        (ClassificationDecode(labels=("a", "b")), "int8", Quantization(scale=0.1), False),
    ],
)
def test_which_outputs_hold_classes(decode: Decode, dtype: Any, quantization: Any, label: bool) -> None:
    spec = TensorSpec(name="x", shape=(1, 4, 4), dtype=dtype, quantization=quantization)
    assert label_outputs(decode, (spec,)) == (label,)


@pytest.mark.parametrize(("wrong", "ok"), [(0, True), (2, True), (40, False)])
def test_a_map_of_classes_may_differ_in_a_few_pixels(bundle: Any, wrong: int, ok: bool) -> None:
    """The tiny bundle, as if it segmented: 100 pixels of classes, and an engine that gets some wrong."""
    replace = msgspec.structs.replace
    model = bundle.manifest.main
    spec = TensorSpec(name="classes", shape=(1, 10, 10), dtype="int64")
    answers = replace(model.golden.variants[0], tolerance=0.05)
    variant = replace(variant_of(bundle, answers.variant), outputs=(spec,))
    changed = replace(
        model,
        decode=SegmentationDecode(labels=("a", "b", "c"), scores="labels"),
        variants=(variant,),
        golden=replace(model.golden, variants=(answers,)),
    )
    bundle.manifest = replace(bundle.manifest, models={"main": changed})
    expected = np.random.default_rng(0).integers(0, 3, (5, 10, 10)).astype(np.float32)
    bundle.changed[answers.outputs[0].file] = expected
    # Five samples, then the three golden frames, which are the first samples.
    order = iter([0, 1, 2, 3, 4, 0, 1, 2])

    def answer(_: Any) -> list[Array]:
        classes = expected[next(order)].astype(np.int64)[None]
        classes.reshape(-1)[:wrong] = (classes.reshape(-1)[:wrong] + 1) % 3
        return [classes]

    report = replay(FakeSession(variant.inputs, (spec,), answer), bundle, role="main", variant=variant)
    assert report.ok is ok
    assert report.error == wrong / 100


def test_without_frames_an_answer_is_still_decoded(bundle: Any) -> None:
    replace = msgspec.structs.replace
    model = bundle.manifest.main
    broken = replace(
        model, decode=ClassificationDecode(labels=("a", "b")), golden=replace(model.golden, frames=())
    )
    bundle.manifest = replace(bundle.manifest, models={"main": broken})
    session = open_variant(bundle, "tflite-int8")
    with pytest.raises(EngineError, match="5 scores for 2 labels"):
        replayed(bundle, session, "tflite-int8")
    bundle.manifest = replace(
        bundle.manifest, models={"main": replace(model, golden=replace(model.golden, frames=()))}
    )
    report = replayed(bundle, session, "tflite-int8")
    session.close()
    assert report.ok
    assert (report.frames, report.pixels) == (0, None)
