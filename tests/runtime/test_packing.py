"""From model files to a bundle: goldens recorded, tolerances measured."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime import engines, packing
from bedside.runtime.bundle.decode import RawDecode
from bedside.runtime.bundle.manifest import MAX_TOLERANCE, InputSpec, Manifest
from bedside.runtime.bundle.reader import load_npy, open_bundle
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.golden import relative_error
from bedside.runtime.loading import open_session
from bedside.runtime.packing import (
    BundleDraft,
    build,
    measure_tolerance,
    run_samples,
)
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.testing.sessions import FakeSession

ASSETS = Path(__file__).resolve().parents[1] / "assets"
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def built(tiny_draft: BundleDraft) -> tuple[Manifest, dict[str, bytes]]:
    return build(tiny_draft)


@pytest.fixture
def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tolerances as they are where one engine is installed, for tests that are not about them: measuring
    takes time."""
    monkeypatch.setattr(packing, "measure_tolerance", lambda variant, *_: packing.FLOOR[variant.precision])


def changed(draft: BundleDraft, **fields: Any) -> BundleDraft:
    """`draft` with another main model."""
    return replace(draft, models={"main": replace(draft.models["main"], **fields)})


def only(draft: BundleDraft, **fields: Any) -> BundleDraft:
    """`draft` with its first variant alone, changed."""
    return changed(draft, variants=(replace(draft.models["main"].variants[0], **fields),))


def test_the_same_draft_gives_the_same_bytes(
    tiny_draft: BundleDraft, built: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "a", *built)
    assert (tmp_path / "a").read_bytes() == tiny_bundle.read_bytes()


def test_every_shipped_variant_has_its_goldens(built: tuple[Manifest, dict[str, bytes]]) -> None:
    manifest, members = built
    model = manifest.main
    samples = load_npy(members[model.golden.engine.input.file])
    assert samples.shape == (2, 16, 16, 3)
    assert samples.dtype == np.uint8
    assert [g.sample for g in model.golden.frames] == [0, 1]
    for frame in model.golden.frames:
        again = np.empty(model.input.shape, np.uint8)
        Preprocessor(model.input)(load_npy(members[frame.frame.file]), frame.color, again)
        np.testing.assert_array_equal(again[0], samples[frame.sample])
    assert {g.variant for g in model.golden.variants} == {v.id for v in model.variants}
    for variant, golden in zip(model.variants, model.golden.variants, strict=True):
        assert variant.file is not None
        assert variant.sha256 == hashlib.sha256(members[variant.file]).hexdigest()
        (expected,) = (load_npy(members[ref.file]) for ref in golden.outputs)
        assert expected.shape == (2, 5)
        assert expected.dtype == np.float32
        np.testing.assert_allclose(expected.sum(axis=1), 1.0, atol=0.02)
        assert packing.FLOOR[variant.precision] <= golden.tolerance <= MAX_TOLERANCE


def test_every_engine_here_holds_the_goldens(tiny_bundle: Path) -> None:
    ran = 0
    with open_bundle(tiny_bundle) as bundle:
        for variant in bundle.manifest.main.shipped:
            for status in engines.statuses():
                if status.available and variant.format in status.formats:
                    loaded = open_session(bundle, variant=variant.id, engine=status.id)
                    assert loaded.golden.ok
                    loaded.session.close()
                    ran += 1
    assert ran >= 2


@pytest.mark.usefixtures("one_engine")
def test_a_refused_variant_is_recorded_and_left_out(tiny_draft: BundleDraft) -> None:
    first, *rest = tiny_draft.models["main"].variants
    refused = replace(first, refused="accuracy fell from 0.95 to 0.60")
    manifest, members = build(changed(tiny_draft, variants=(refused, *rest)))
    record = manifest.main.variants[0]
    assert (record.file, record.refused) == (None, refused.refused)
    assert record.sha256 == hashlib.sha256(first.data).hexdigest()
    assert not any(first.id in name for name in members)
    assert manifest.main.default == rest[0].id


@pytest.mark.usefixtures("one_engine")
def test_a_variant_that_is_not_to_be_shipped_is_left_out(tiny_draft: BundleDraft) -> None:
    first, *rest = tiny_draft.models["main"].variants
    manifest, members = build(changed(tiny_draft, variants=(replace(first, ship=False), *rest)))
    assert manifest.main.variants[0].file is None
    assert manifest.main.variants[0].refused is None
    assert not any(first.id in name for name in members)


@pytest.mark.usefixtures("one_engine")
def test_samples_alone_are_enough(tiny_draft: BundleDraft, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    manifest, members = build(changed(tiny_draft, frames=(), samples=samples))
    assert manifest.main.golden.frames == ()
    np.testing.assert_array_equal(load_npy(members[manifest.main.golden.engine.input.file]), samples)
    write_bundle(tmp_path / "a", manifest, members)
    with open_bundle(tmp_path / "a") as bundle:
        open_session(bundle).session.close()


@pytest.mark.usefixtures("one_engine")
def test_frames_come_before_samples(tiny_draft: BundleDraft) -> None:
    samples = np.full((2, 16, 16, 3), 7, np.uint8)
    manifest, members = build(changed(tiny_draft, samples=samples))
    stacked = load_npy(members[manifest.main.golden.engine.input.file])
    np.testing.assert_array_equal(stacked[2:], samples)
    assert [g.sample for g in manifest.main.golden.frames] == [0, 1]


@pytest.mark.usefixtures("one_engine")
def test_a_guard_travels_in_the_same_bundle(guarded_bundle: Path, guarded_draft: BundleDraft) -> None:
    variant = guarded_draft.models["guard"].variants[0]
    with open_bundle(guarded_bundle) as bundle:
        bundle.verify_all()
        assert bundle.manifest.min_runtime == "0.2.0"
        loaded = open_session(bundle, role="guard")
        assert loaded.variant.file == f"models/guard-{variant.id}.{variant.format}"
        assert loaded.golden.frames == 4
        loaded.session.close()


def test_plain_classification_still_runs_on_the_first_runtime(tiny_bundle: Path) -> None:
    with open_bundle(tiny_bundle) as bundle:
        assert bundle.manifest.min_runtime == "0.1.0"


def test_a_latent_model_has_drawn_samples_and_no_frames(generator_draft: BundleDraft, tmp_path: Path) -> None:
    manifest, members = build(generator_draft)
    assert manifest.min_runtime == "0.2.0"
    golden = manifest.main.golden
    assert golden.frames == ()
    samples = load_npy(members[golden.engine.input.file])
    assert samples.shape == (4, 6)
    assert samples.dtype == np.float32
    write_bundle(tmp_path / "a", manifest, members)
    with open_bundle(tmp_path / "a") as bundle:
        loaded = open_session(bundle)
        assert loaded.golden.ok
        assert loaded.golden.frames == 0
        loaded.session.close()


def test_a_latent_model_takes_no_frames(generator_draft: BundleDraft, tiny_draft: BundleDraft) -> None:
    with pytest.raises(BundleError, match="golden frames for a model that takes a latent"):
        build(changed(generator_draft, frames=tiny_draft.models["main"].frames))
    assert packing.drawn_goldens(generator_draft.models["main"].input) == ()


def test_a_stated_tolerance_is_kept(tiny_draft: BundleDraft) -> None:
    manifest, _ = build(only(tiny_draft, tolerance=0.07))
    assert manifest.main.golden.variants[0].tolerance == 0.07


@pytest.mark.usefixtures("one_engine")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frames": ()}, "no golden sample"),
        ({"samples": np.zeros((2, 16, 16, 3), np.float32)}, "float32"),
        ({"samples": np.zeros((2, 8, 8, 3), np.uint8)}, r"\[8, 8, 3\]"),
        ({"samples": np.zeros((16, 16, 3), np.uint8)}, r"\[16, 3\]"),
        ({"variants": ()}, "no variant is left"),
        ({"default": "nothing"}, "default"),
        ({"outputs": ("a", "b")}, "outputs"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_drafts_that_contradict_themselves(
    fields: dict[str, Any], said: str, tiny_draft: BundleDraft
) -> None:
    with pytest.raises(BundleError, match=said):
        build(changed(tiny_draft, **fields))


def test_every_variant_refused_leaves_no_bundle(tiny_draft: BundleDraft) -> None:
    variants = tuple(replace(v, refused="no") for v in tiny_draft.models["main"].variants)
    with pytest.raises(BundleError, match="no variant is left"):
        build(changed(tiny_draft, variants=variants))


@pytest.mark.usefixtures("one_engine")
def test_an_id_that_is_taken(tiny_draft: BundleDraft) -> None:
    variants = tuple(replace(v, id="same") for v in tiny_draft.models["main"].variants)
    if len(variants) < 2:
        pytest.skip("one format in this environment")
    with pytest.raises(BundleError, match="twice"):
        build(changed(tiny_draft, variants=variants))


@pytest.mark.usefixtures("one_engine")
def test_labels_that_do_not_fit_the_scores(tiny_draft: BundleDraft) -> None:
    decode = replace(tiny_draft.models["main"].decode, labels=("a", "b"))
    with pytest.raises(BundleError, match=r"2 labels, .* gives 5 scores"):
        build(changed(tiny_draft, decode=decode))


@pytest.mark.usefixtures("one_engine")
def test_what_the_schema_refuses_is_refused_when_it_is_written(
    tiny_draft: BundleDraft, tmp_path: Path
) -> None:
    odd = [
        {"name": "Not A Name"},
        {"version": "1"},
        {"description": "x" * 5000},
        {"eval_metrics": {"a": math.nan}},
    ]
    for fields in odd:
        with pytest.raises(BundleError):
            write_bundle(tmp_path / "a", *build(replace(only(tiny_draft), **fields)))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_takes_something_else_is_refused(tiny_draft: BundleDraft) -> None:
    for spec in (InputSpec(width=24, height=16), InputSpec(width=16, height=16, dtype="float32")):
        with pytest.raises(
            EngineError, match=r"takes \[1, 16, 16, 3\] uint8, the manifest's input gives"
        ) as caught:
            build(changed(tiny_draft, input=spec))
        assert "[input]" in caught.value.hint


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "name", ["custom_op.tflite", "flex_op.tflite", "custom_op.onnx", "external_data.onnx", "unknown_op.onnx"]
)
def test_a_model_that_needs_what_no_device_has_is_refused(name: str, tiny_draft: BundleDraft) -> None:
    fmt: Any = name.split(".")[1]
    if not any(status.available and fmt in status.formats for status in engines.statuses()):
        pytest.skip(f"no engine for .{fmt} in this environment")
    with pytest.raises(EngineError) as caught:
        build(only(tiny_draft, data=(ASSETS / name).read_bytes(), format=fmt))
    assert str(caught.value).isprintable()


def test_junk_is_refused(tiny_draft: BundleDraft) -> None:
    for data in (b"x", b"\0" * 4096, tiny_draft.models["main"].variants[0].data[:1000]):
        with pytest.raises(EngineError):
            build(only(tiny_draft, data=data))


def test_a_model_that_answers_goldens_with_nan_is_refused(
    tiny_draft: BundleDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = engines.compile_model

    def compile_model(*args: Any) -> FakeSession:
        session = real(*args)
        session.close()
        return FakeSession(session.inputs, session.outputs, lambda _: [np.full((1, 5), np.nan, np.float32)])

    monkeypatch.setattr(engines, "compile_model", compile_model)
    with pytest.raises(EngineError, match="NaN or Inf on golden samples"):
        build(tiny_draft)


def test_an_engine_that_disagrees_does_not_widen_the_tolerance(
    tiny_draft: BundleDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the largest error of engines that agree; one that is plainly wrong is refused on the device
    instead."""
    variant = tiny_draft.models["main"].variants[0]
    samples = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    session = engines.compile_model(
        engines.preference(variant.format)[0], variant.data, variant.format, SessionOptions()
    )
    expected = run_samples(session, samples)
    inputs, outputs = session.inputs, session.outputs
    session.close()
    largest = float(np.abs(expected[0]).max())

    def off_by(error: float) -> float:
        made = iter(range(10**6))

        def compile_model(*_: Any) -> FakeSession:
            # Two samples each: the answers of the real engine, with an error.
            rows = iter(expected[0])
            next(made)
            return FakeSession(inputs, outputs, lambda _: [next(rows)[None] + np.float32(error * largest)])

        with monkeypatch.context() as patch:
            patch.setattr(engines, "compile_model", compile_model)
            tolerance = measure_tolerance(variant, samples, expected, outputs, RawDecode())
        assert next(made) > 1
        return tolerance

    floor = packing.FLOOR[variant.precision]
    assert off_by(0.0) == floor
    assert off_by(floor / 4) == floor
    assert off_by(0.02) == pytest.approx(0.04, rel=1e-3)
    assert off_by(0.08) == MAX_TOLERANCE
    assert off_by(0.5) == floor
    assert relative_error(expected[0] * 1.5, expected[0]) > MAX_TOLERANCE


@pytest.mark.usefixtures("one_engine")
def test_a_draft_is_packed_with_whatever_engine_is_here(
    tiny_draft: BundleDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NumPy 1 there is tflite-runtime and no LiteRT; with nothing, the first says what to install."""
    real = engines.status

    def status(engine: str) -> engines.EngineStatus:
        state = real(engine)
        return replace(state, version=None, reason="not here") if engine in gone else state

    monkeypatch.setattr(packing.engines, "status", status)
    variant = tiny_draft.models["main"].variants[0]
    # OpenVINO does not say how outputs of a .tflite file are quantized: it never records goldens of one.
    readers = [e for e in engines.preference(variant.format) if real(e).available and e != "openvino"]
    used: list[str] = []
    compile_real = engines.compile_model

    def compile_model(engine: str, *args: Any) -> Any:
        used.append(engine)
        return compile_real(engine, *args)

    monkeypatch.setattr(packing.engines, "compile_model", compile_model)
    for count in range(len(readers)):
        gone = set(engines.preference(variant.format)) - set(readers[count:])
        used.clear()
        build(only(tiny_draft))
        assert used[0] == readers[count]
