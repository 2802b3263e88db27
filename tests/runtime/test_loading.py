"""Loading: the right bytes, compared and replayed, or one line that says why not."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime import engines, loading
from bedside.runtime.bundle.manifest import Manifest, Quantization, TensorSpec, Variant
from bedside.runtime.bundle.reader import dump_npy, load_npy, open_bundle
from bedside.runtime.bundle.writer import file_ref, write_bundle
from bedside.runtime.engines import EngineStatus, Session, SessionOptions
from bedside.runtime.errors import BundleError, EngineError, UsageError
from bedside.runtime.loading import Loaded, check_tensors, open_session
from bedside.runtime.testing.sessions import FakeSession

Content = tuple[Manifest, dict[str, bytes]]

needs_openvino = pytest.mark.skipif(
    not engines.status("openvino").available, reason="openvino is not installed"
)


@pytest.fixture
def path(built: Content, tmp_path: Path) -> Path:
    """The tiny bundle on disk."""
    write_bundle(tmp_path / "tiny.bedside", *built)
    return tmp_path / "tiny.bedside"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Every session that was compiled."""
    seen: list[Session] = []
    real = engines.compile_model

    def watched(*args: Any) -> Session:
        seen.append(real(*args))
        return seen[-1]

    monkeypatch.setattr(loading.engines, "compile_model", watched)
    return seen


def is_closed(session: Session) -> bool:
    try:
        session.input()
    except EngineError as error:
        return "closed" in str(error)
    return False


def load(path: Path, **options: Any) -> Loaded:
    with open_bundle(path) as bundle:
        loaded = open_session(bundle, **options)
    loaded.session.close()
    return loaded


def test_the_declared_default(path: Path) -> None:
    loaded = load(path)
    assert loaded.variant.id == "tflite-int8"
    assert loaded.session.engine == "litert"
    assert loaded.session.options.threads == engines.default_threads()
    assert loaded.model.default == "tflite-int8"
    assert loaded.golden.ok


def test_what_is_asked_for(path: Path) -> None:
    loaded = load(path, variant="onnx-int8", engine="onnxruntime", options=SessionOptions(threads=1))
    assert (loaded.variant.id, loaded.session.engine) == ("onnx-int8", "onnxruntime")
    assert loaded.session.options.threads == 1
    assert (loaded.golden.variant, loaded.golden.engine) == ("onnx-int8", "onnxruntime")


def test_a_session_runs_after_its_bundle_is_closed(path: Path) -> None:
    with open_bundle(path) as bundle:
        session = open_session(bundle).session
    session.input()[...] = 1
    assert session.invoke()[0].shape == (1, 5)
    session.close()


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_an_engine_without_a_variant_gets_one_that_it_reads(path: Path, engine: str) -> None:
    loaded = load(path, engine=engine)
    assert loaded.session.engine == engine
    # Of the default's precision, in the order of the manifest.
    assert loaded.variant.id == ("onnx-int8" if engine == "onnxruntime" else "tflite-int8")


def test_a_variant_that_the_engine_does_not_read(path: Path) -> None:
    with pytest.raises(EngineError, match=r"onnxruntime: does not read \.tflite files"):
        load(path, variant="tflite-int8", engine="onnxruntime")


def test_an_unknown_variant(path: Path) -> None:
    with pytest.raises(UsageError, match=r"no variant 'int4' \(there is tflite-int8, tflite-fp32, onnx-fp32"):
        load(path, variant="int4")


def test_a_refused_variant_says_why_it_was_refused(path: Path) -> None:
    with pytest.raises(UsageError, match=r"'tflite-dynamic' is not shipped: accuracy drops by 0\.08"):
        load(path, variant="tflite-dynamic")


def test_an_unknown_role(path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model in the role 'guard' \(it has main\)"):
        load(path, role="guard")


def test_an_unknown_engine(path: Path) -> None:
    with pytest.raises(UsageError, match="unknown engine 'tensorrt'"):
        load(path, engine="tensorrt")


@pytest.mark.fault("E3")
def test_no_engine_for_the_default_names_them_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(engine: str) -> EngineStatus:
        return EngineStatus(engine, None, f"not installed: pip install {engine}", ("tflite",))

    monkeypatch.setattr(loading.engines, "status", absent)
    message = r"no engine here reads \.tflite: litert not installed.*; tflite not .*; openvino not"
    with pytest.raises(EngineError, match=message):
        load(path)


def changed_manifest(built: Content, variant: str, **fields: Any) -> Manifest:
    """The manifest with one variant changed, behind the back of its checks."""
    manifest = built[0]
    main = manifest.main
    variants = tuple(msgspec.structs.replace(v, **fields) if v.id == variant else v for v in main.variants)
    model = msgspec.structs.replace(main, variants=variants)
    return msgspec.structs.replace(manifest, models={"main": model})


@pytest.mark.fault("B8")
def test_outputs_that_differ_from_the_manifest(
    built: Content, tmp_path: Path, sessions: list[Session]
) -> None:
    """Five classes on both sides, but a different arithmetic at the border."""
    wrong = TensorSpec(name="scores", shape=(1, 5), dtype="float32")
    manifest = changed_manifest(built, "tflite-int8", outputs=(wrong,))
    write_bundle(tmp_path / "wrong.bedside", manifest, built[1])
    with pytest.raises(BundleError) as caught:
        load(tmp_path / "wrong.bedside")
    assert str(caught.value) == (
        "litert, tflite-int8: outputs[0] of the model is [1, 5] int8 with scale 0.00390625 and zero point "
        "-128, the manifest says [1, 5] float32"
    )
    assert [is_closed(s) for s in sessions] == [True]


def variant(**fields: Any) -> Variant:
    spec = TensorSpec(
        name="x", shape=(1, 4, 4, 3), dtype="uint8", quantization=Quantization(scale=1.0, zero_point=0)
    )
    scores = TensorSpec(name="y", shape=(1, 3), dtype="float32")
    made = Variant(
        id="v", format="tflite", precision="int8", sha256="0" * 64, bytes=1, inputs=(spec,), outputs=(scores,)
    )
    return msgspec.structs.replace(made, **fields)


@pytest.mark.fault("B8")
class TestTensors:
    def check(self, stated: Variant, **fields: Any) -> None:
        """Compare what an engine could report, one field changed, with the manifest."""
        entry = msgspec.structs.replace(stated.inputs[0], **fields)
        check_tensors(FakeSession((entry,), stated.outputs), stated, "litert, v")

    def test_the_same(self) -> None:
        self.check(variant())

    def test_names_change_with_engines(self) -> None:
        self.check(variant(), name="serving_default_x:0")

    def test_a_scale_that_went_through_float32(self) -> None:
        stated = variant(
            inputs=(msgspec.structs.replace(variant().inputs[0], quantization=Quantization(scale=0.1)),)
        )
        self.check(stated, quantization=Quantization(scale=float(np.float32(0.1))))

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            ({"shape": (1, 3, 4, 4)}, r"\[1, 3, 4, 4\] uint8"),
            ({"dtype": "int8"}, r"\[1, 4, 4, 3\] int8"),
            ({"quantization": None}, r"\[1, 4, 4, 3\] uint8,"),
            ({"quantization": Quantization(scale=0.7)}, "scale 0.7 and zero point 0"),
            ({"quantization": Quantization(scale=1.0, zero_point=1)}, "scale 1 and zero point 1"),
        ],
    )
    def test_what_differs_is_named_on_both_sides(self, fields: dict[str, Any], shown: str) -> None:
        message = (
            rf"litert, v: inputs\[0\] of the model is .*{shown}.*the manifest says \[1, 4, 4, 3\] uint8 with"
        )
        with pytest.raises(BundleError, match=message):
            self.check(variant(), **fields)

    def test_the_number_of_classes(self) -> None:
        stated = variant()
        reported = (TensorSpec(name="y", shape=(1, 4), dtype="float32"),)
        message = r"outputs\[0\] of the model is \[1, 4\] float32, the manifest says \[1, 3\] float32"
        with pytest.raises(BundleError, match=message):
            check_tensors(FakeSession(stated.inputs, reported), stated, "litert, v")

    def test_the_number_of_tensors(self) -> None:
        stated = variant()
        with pytest.raises(BundleError, match="the model has 2 outputs, the manifest names 1"):
            check_tensors(FakeSession(stated.inputs, stated.outputs * 2), stated, "litert, v")

    def test_onnx_carries_no_quantization_at_its_border(self) -> None:
        self.check(variant(format="onnx"), quantization=None)
        with pytest.raises(BundleError, match="the manifest says"):
            self.check(variant(format="onnx"), dtype="int8")


def with_member(built: Content, name: str, data: bytes) -> Content:
    """The bundle with one golden replaced, digests and all: what a wrong workstation could write."""
    manifest, members = built
    main = manifest.main
    answers = tuple(
        msgspec.structs.replace(
            g, outputs=tuple(file_ref(name, data) if r.file == name else r for r in g.outputs)
        )
        for g in main.golden.variants
    )
    golden = msgspec.structs.replace(main.golden, variants=answers)
    model = msgspec.structs.replace(main, golden=golden)
    return msgspec.structs.replace(manifest, models={"main": model}), {**members, name: data}


@pytest.mark.fault("B11")
def test_goldens_that_do_not_hold(built: Content, tmp_path: Path, sessions: list[Session]) -> None:
    answers = next(g for g in built[0].main.golden.variants if g.variant == "onnx-fp32")
    (ref,) = answers.outputs
    wrong = np.roll(load_npy(built[1][ref.file]), 1, axis=1)
    manifest, members = with_member(built, ref.file, dump_npy(wrong))
    write_bundle(tmp_path / "wrong.bedside", manifest, members)
    message = (
        r"onnxruntime, onnx-fp32: goldens do not hold: the output 'scores' is off by [\d.]+, "
        r"allowed is 0.001 \(.*choose another engine"
    )
    with pytest.raises(EngineError, match=message) as caught:
        load(tmp_path / "wrong.bedside", variant="onnx-fp32")
    assert caught.value.exit_code == 5
    assert [is_closed(s) for s in sessions] == [True]
    # The other variants of the same bundle are none the worse for it.
    assert load(tmp_path / "wrong.bedside").golden.ok


@pytest.mark.fault("B10")
def test_a_file_swapped_after_it_was_opened(built: Content, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.bedside"
    other.write_bytes(b"not a bundle at all")
    with open_bundle(path) as bundle:
        shutil.move(other, path)
        loaded = open_session(bundle)
    assert loaded.golden.ok
    loaded.session.close()
    with pytest.raises(BundleError):
        open_bundle(path)


@pytest.mark.fault("B1")
def test_a_changed_model_never_reaches_an_engine(path: Path, built: Content, sessions: list[Session]) -> None:
    data = bytearray(path.read_bytes())
    model = built[1][built[0].main.variants[0].file or ""]
    at = bytes(data).index(model) + len(model) // 2
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        load(path)
    assert sessions == []
