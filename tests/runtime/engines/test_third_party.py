"""Models that other people made, through the engine API, on every engine here."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.runtime import engines
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec, Normalization
from bedside.runtime.engines import Session, SessionOptions
from bedside.runtime.errors import EngineError
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import View, make_task

HERE = [e for e in engines.preference("tflite") if engines.status(e).available]


@pytest.fixture(params=HERE)
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine here that reads .tflite."""
    return str(request.param)


def compiled(engine: str, path: Path) -> Session:
    return engines.compile_model(engine, path.read_bytes(), "tflite", SessionOptions(threads=2))


@pytest.mark.parametrize(("name", "published"), [("kws_ref_model", 902), ("kws_ref_model_float32", 900)])
def test_keyword_spotting_scores_what_was_published(
    data_root: Path, engine: str, name: str, published: int
) -> None:
    """MLPerf Tiny's keyword spotting: 90 % of 1000 samples. Other kernels move it by a few."""
    folder = data_root / "models" / "mlperf-tiny"
    session = compiled(engine, folder / f"{name}.tflite")
    quantized = compiled(engine, folder / "kws_ref_model.tflite").inputs[0].quantization
    assert quantized is not None
    with np.load(folder / "kws01.npz") as archive:
        codes, labels = archive["x"], archive["y"]
    samples = codes.reshape(-1, *session.inputs[0].shape[1:])
    if session.inputs[0].dtype == "float32":
        samples = (samples.astype(np.float32) - quantized.zero_point) * np.float32(quantized.scale)
    right = 0
    for sample, label in zip(samples, labels, strict=True):
        session.input()[0] = sample
        right += int(session.invoke()[0].argmax() == label)
    session.close()
    assert abs(right - published) <= (3 if name == "kws_ref_model" else 8)


def test_mobilenet_sees_the_cat(data_root: Path, engine: str) -> None:
    """Coral's quantized MobileNet v1: class 286, Egyptian cat, above 0.67."""
    folder = data_root / "models" / "coral"
    session = compiled(engine, folder / "mobilenet_v1_0.5_160_quant.tflite")
    spec = InputSpec(
        width=160,
        height=160,
        resize="letterbox",
        quantization=session.inputs[0].quantization,
        normalization=Normalization(mean=(128.0,), std=(128.0,)),
    )
    frame = cv2.imread(str(folder / "cat.bmp"))
    assert frame is not None
    view = View(Preprocessor(spec)(frame, "bgr", session.input()))
    labels = tuple(str(k) for k in range(1001))
    found = make_task(ClassificationDecode(labels=labels)).decode(session.invoke(), session.outputs, view)
    session.close()
    assert found.index == 286
    assert found.score > 0.67


@pytest.mark.parametrize("name", ["tflm/trained_lstm_int8", "coral/keras_lstm_mnist_ptq"])
def test_a_recurrent_model_does_not_remember_the_last_frame(data_root: Path, engine: str, name: str) -> None:
    if engine == "openvino":
        pytest.skip("OpenVINO has no translation for the quantized constants of these files")
    session = compiled(engine, data_root / "models" / f"{name}.tflite")
    spec = session.inputs[0]
    frame = np.random.default_rng(0).integers(0, 120, spec.shape).astype(spec.dtype)
    answers = []
    for _ in range(3):
        session.input()[...] = frame
        answers.append(session.invoke()[0].copy())
        session.input()[...] = 90
        session.invoke()
    session.close()
    np.testing.assert_array_equal(answers[1], answers[0])
    np.testing.assert_array_equal(answers[2], answers[0])


def runnable(data_root: Path) -> Iterator[Path]:
    for path in sorted((data_root / "models").rglob("*.tflite")):
        if "posenet" not in path.name and path.name != "person_detect.tflite":
            yield path


def test_every_other_model_runs_or_is_refused_in_one_line(data_root: Path, engine: str) -> None:
    ran = 0
    for path in runnable(data_root):
        try:
            session = compiled(engine, path)
        except EngineError as error:
            assert engine == "openvino", error
            assert "\n" not in str(error)
            assert "lstm" in path.name
            continue
        outputs = session.invoke()
        assert [o.shape for o in outputs] == [s.shape for s in session.outputs]
        session.close()
        ran += 1
    assert ran >= 12


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "coral/posenet/posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite",
            "custom op PosenetDecoderOp",
        ),
        ("tflm/person_detect.tflite", "quantized_dimension 3 of a tensor with 1 dimensions"),
    ],
)
def test_models_that_cannot_run_say_why(data_root: Path, engine: str, name: str, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        compiled(engine, data_root / "models" / name)
