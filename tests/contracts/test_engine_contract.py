"""One suite for every engine that is installed here. Runs without TensorFlow, onnx, or a network."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from bedside.runtime import engines
from bedside.runtime.bundle.decode import RawDecode
from bedside.runtime.bundle.manifest import Format, InputSpec, Quantization
from bedside.runtime.engines import Session, SessionOptions
from bedside.runtime.errors import EngineError, UsageError
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import NotFiniteError, dequantize, make_task
from bedside.runtime.testing.views import make_view

ASSETS = Path(__file__).resolve().parents[1] / "assets"
REFERENCE = dict(np.load(ASSETS / "tiny.npz"))
FRAMES = REFERENCE["frames"]

HERE = [s.id for s in engines.statuses() if s.available]
#: Every model file with every engine here that reads it.
PAIRS = [
    pytest.param(engine, path.name, id=f"{engine}-{path.name}")
    for path in sorted(ASSETS.glob("*.*"))
    if path.suffix in (".tflite", ".onnx")
    for engine in HERE
    if path.suffix[1:] in engines.status(engine).formats
]

Open = Callable[..., Session]


def pairs(*names: str) -> Any:
    """The pairs of some model files."""
    assert all((ASSETS / name).is_file() for name in names)
    chosen = [p for p in PAIRS if p.values[1] in names]
    return pytest.mark.parametrize(("engine", "name"), chosen)


TINY = ("tiny_fp32.tflite", "tiny_uint8.tflite", "tiny_int8.tflite", "tiny_fp32.onnx", "tiny_int8.onnx")


@pytest.fixture
def opened() -> Iterator[Open]:
    """Compiles a model file; closes what it opened."""
    sessions: list[Session] = []

    def open_one(engine: str, name: str, threads: int = 2, hint: str | None = None) -> Session:
        data = (ASSETS / name).read_bytes()
        format = cast(Format, Path(name).suffix[1:])
        sessions.append(
            engines.compile_model(engine, data, format, SessionOptions(threads=threads, hint=hint))
        )
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


def feed(session: Session, frame: npt.NDArray[np.uint8]) -> None:
    """Write a frame into the input buffer and let go of it."""
    session.input()[0] = frame


def answer(session: Session, frame: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """Copies of the outputs for one frame."""
    feed(session, frame)
    return [output.copy() for output in session.invoke()]


def test_some_engine_is_installed() -> None:
    assert HERE, [s.reason for s in engines.statuses()]


@pairs(*TINY)
def test_tensors_are_reported(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    (entry,), (output,) = session.inputs, session.outputs
    assert session.engine == engine
    assert entry.shape == (1, 16, 16, 3)
    assert output.shape == (1, 5)
    assert entry.dtype == ("float32" if name == "tiny_fp32.tflite" else "uint8")
    assert output.dtype == ("int8" if name == "tiny_int8.tflite" else "float32")
    if name == "tiny_int8.tflite":
        assert entry.quantization == Quantization(scale=1.0, zero_point=0)
        assert output.quantization == Quantization(scale=1 / 256, zero_point=-128)
    else:
        assert entry.quantization is None
        assert output.quantization is None
    buffer = session.input()
    assert (buffer.shape, buffer.dtype.name) == (entry.shape, entry.dtype)
    assert buffer.flags.c_contiguous
    assert buffer.flags.writeable


@pairs(*TINY)
@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_the_stored_ones(opened: Open, engine: str, name: str, threads: int) -> None:
    session = opened(engine, name, threads)
    spec = session.outputs[0]
    got = np.concatenate([dequantize(answer(session, frame)[0], spec) for frame in FRAMES])
    stored = REFERENCE.get(name)
    expected = REFERENCE["scores"] if stored is None else dequantize(stored, spec)
    # Engines order float sums differently; int8 kernels may round a tie either way, which is one code or two.
    tolerance = 1e-5 if "int8" not in name else 0.02
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    if "int8" in name:
        assert np.abs(got - REFERENCE["scores"]).max() < 0.1  # a quantized model, not another one


@pairs("two_outputs.tflite", "two_outputs.onnx")
def test_outputs_keep_the_order_of_the_file(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    wanted = ["features", "scores"] if name.endswith("tflite") else ["scores", "features"]
    got = answer(session, FRAMES[1])
    for output, spec, key in zip(got, session.outputs, wanted, strict=True):
        assert spec.shape == (1, *REFERENCE[key].shape[1:])
        np.testing.assert_allclose(output[0], REFERENCE[key][1], rtol=1e-4, atol=1e-4)


@pairs("batch.tflite", "batch.onnx")
def test_an_open_batch_is_one(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    assert session.inputs[0].shape == (1, 16, 16, 3)
    assert session.outputs[0].shape == (1, 5)
    np.testing.assert_allclose(answer(session, FRAMES[2])[0][0], REFERENCE["scores"][2], rtol=0, atol=1e-5)


@pairs(*TINY)
def test_the_input_is_written_in_place(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    address = session.input().ctypes.data
    first = answer(session, FRAMES[0])[0]
    assert session.input().ctypes.data == address
    session.input()[0, 4:12, 4:12] = 255 - FRAMES[0, 4:12, 4:12]
    assert not np.array_equal(session.invoke()[0], first)


@pairs(*TINY)
def test_the_input_survives_a_run(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    feed(session, FRAMES[0])
    session.invoke()
    np.testing.assert_array_equal(session.input()[0], FRAMES[0])


@pairs(*TINY, "two_outputs.onnx", "two_outputs.tflite")
def test_outputs_are_valid_until_the_next_run(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    feed(session, FRAMES[0])
    outputs = session.invoke()
    kept = [output.copy() for output in outputs]
    feed(session, FRAMES[1])  # writing the next frame leaves the last answer alone
    for output, copy in zip(outputs, kept, strict=True):
        np.testing.assert_array_equal(output, copy)
    again = session.invoke()
    assert all(new is old for new, old in zip(again, outputs, strict=True))
    assert not any(np.array_equal(output, copy) for output, copy in zip(again, kept, strict=True))


@pairs(*TINY)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_frame_gives_the_same_bits(opened: Open, engine: str, name: str, threads: int) -> None:
    session = opened(engine, name, threads)
    first = [answer(session, frame)[0] for frame in FRAMES]
    second = [answer(session, frame)[0] for frame in FRAMES[::-1]][::-1]
    np.testing.assert_array_equal(first, second)


@pairs(*TINY)
def test_sessions_are_independent(opened: Open, engine: str, name: str) -> None:
    one, two = opened(engine, name), opened(engine, name)
    expected = [answer(one, frame)[0] for frame in FRAMES[:2]]
    feed(one, FRAMES[0])
    feed(two, FRAMES[1])
    first, second = one.invoke()[0], two.invoke()[0]
    np.testing.assert_array_equal(first, expected[0])
    np.testing.assert_array_equal(second, expected[1])
    two.close()
    np.testing.assert_array_equal(answer(one, FRAMES[0])[0], expected[0])


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_the_owner_may_be_another_thread(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    expected = answer(session, FRAMES[0])[0]
    got: list[npt.NDArray[Any]] = []
    owner = threading.Thread(target=lambda: got.append(answer(session, FRAMES[0])[0]))
    owner.start()
    owner.join(30)
    np.testing.assert_array_equal(got, [expected])


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
@pytest.mark.parametrize("threads", [1, 2])
def test_options_are_those_asked_for(opened: Open, engine: str, name: str, threads: int) -> None:
    options = opened(engine, name, threads).options
    assert options.threads == threads
    hints = engines.status(engine).hints
    assert options.hint == (hints[0] if hints else None)


@pairs("tiny_fp32.tflite", "tiny_fp32.onnx")
def test_every_offered_hint_is_honoured(opened: Open, engine: str, name: str) -> None:
    for hint in engines.status(engine).hints:
        session = opened(engine, name, 2, hint)
        assert session.options.hint == hint
        got = answer(session, FRAMES[0])[0][0]
        np.testing.assert_allclose(got, REFERENCE["scores"][0], atol=1e-5 if hint == "f32" else 0.05)


@pytest.mark.fault("E3")
@pairs("tiny_fp32.tflite", "tiny_fp32.onnx")
def test_a_hint_that_is_not_offered_is_refused(opened: Open, engine: str, name: str) -> None:
    with pytest.raises(EngineError, match=f"{engine}: cannot run with the precision hint 'f8'"):
        opened(engine, name, 2, "f8")


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_threads_below_one_are_refused(opened: Open, engine: str, name: str) -> None:
    with pytest.raises(UsageError, match="threads is 0"):
        opened(engine, name, 0)


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_a_closed_session_says_so(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    feed(session, FRAMES[0])
    outputs = session.invoke()
    kept = outputs[0].copy()
    session.close()
    session.close()
    np.testing.assert_array_equal(outputs[0], kept)
    for call in (session.input, session.invoke):
        with pytest.raises(EngineError, match=f"{engine}: the session is closed"):
            call()


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_an_input_that_is_held_never_gives_a_wrong_answer(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    expected = answer(session, FRAMES[0])[0]
    held = session.input()
    held[0] = FRAMES[0]
    try:
        got = session.invoke()[0]
    except EngineError as error:
        assert "still held" in str(error)
        del held
        got = session.invoke()[0]
    np.testing.assert_array_equal(got, expected)


@pairs("tiny_int8.tflite", "tiny_fp32.tflite", "tiny_fp32.onnx")
def test_preprocess_writes_into_the_engine(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    spec = InputSpec(
        width=16,
        height=16,
        resize="letterbox",
        dtype=session.inputs[0].dtype,
        quantization=session.inputs[0].quantization,
    )
    preprocess = Preprocessor(spec)
    frame = np.ascontiguousarray(FRAMES[3, :, :, ::-1])
    for _ in range(2):
        preprocess(frame, "bgr", session.input())
        outputs = session.invoke()
    np.testing.assert_array_equal(outputs[0], answer(session, FRAMES[3])[0])


@pytest.mark.fault("B9")
@pairs("custom_op.tflite", "flex_op.tflite", "custom_op.onnx", "unknown_op.onnx", "external_data.onnx")
def test_what_is_not_built_in_is_refused_by_name(opened: Open, engine: str, name: str) -> None:
    culprit = {
        "custom_op.tflite": "custom op BesselI0e",
        "flex_op.tflite": "Flex op FlexAtan",
        "custom_op.onnx": "custom op Polyp of the domain com.acme",
        "unknown_op.onnx": "no kernel for the op Lesionize",
        "external_data.onnx": "'w' keeps its data outside the .onnx file, in 'weights.bin'",
    }[name]
    with pytest.raises(EngineError, match=culprit) as caught:
        opened(engine, name)
    assert len(str(caught.value)) < 300
    assert caught.value.__suppress_context__


@pairs("dynamic.tflite", "dynamic.onnx")
def test_a_dynamic_shape_is_refused_by_name(opened: Open, engine: str, name: str) -> None:
    shape = r"\[1, \?, \?, 3\]" if name.endswith("tflite") else r"\[1, 3, height, width\]"
    with pytest.raises(EngineError, match=f"dynamic shape {shape}"):
        opened(engine, name)


@pytest.mark.fault("B12")
@pytest.mark.filterwarnings("error")
@pairs("not_finite.onnx")
def test_infinity_comes_out_as_it_is_and_is_withheld(opened: Open, engine: str, name: str) -> None:
    session = opened(engine, name)
    session.input()[...] = (1, -1, 0, 2)  # divided by 0
    outputs = session.invoke()
    assert np.isinf(outputs[0][0, 0])
    assert np.isnan(outputs[0][0, 2])
    with pytest.raises(NotFiniteError, match="4 of 4 values of the output 'y'"):
        make_task(RawDecode()).decode(outputs, session.outputs, make_view())


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways in which a file arrives broken."""
    size = len(data)
    yield "empty", b""
    yield "zeros", bytes(size)
    yield "noise", np.random.default_rng(0).bytes(size)
    yield "text", b"This is not a model.\n" * 40
    for kept in (1, 7, 8, 64, size // 4, size // 2, size - 1000, size - 100, size - 1):
        yield f"first {kept} bytes", data[:kept]


@pytest.mark.fault("B2")
@pairs("tiny_int8.tflite", "tiny_int8.onnx")
def test_damaged_bytes_are_refused(engine: str, name: str) -> None:
    format = cast(Format, Path(name).suffix[1:])
    for what, data in damaged((ASSETS / name).read_bytes()):
        with pytest.raises(EngineError) as caught:
            engines.compile_model(engine, data, format, SessionOptions()).close()
        assert f"not a sound .{format} model" in str(caught.value), what
        assert "\n" not in str(caught.value)


@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_a_file_of_the_other_format_is_refused(engine: str, name: str) -> None:
    other: Format = "onnx" if name.endswith("tflite") else "tflite"
    with pytest.raises(EngineError, match=rf"does not read \.{other}|not a sound \.{other}"):
        engines.compile_model(engine, (ASSETS / name).read_bytes(), other, SessionOptions())


ALONE = """
import json, os, sys
touched = []
watched = ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "subprocess.Popen")
sys.addaudithook(lambda event, args: touched.append(event) if event in watched else None)
from bedside.runtime import engines
engine, path = sys.argv[1:]
data = open(path, "rb").read()
session = engines.compile_model(engine, data, path.rpartition(".")[2], engines.SessionOptions(threads=2))
session.input()[...] = 7
session.invoke()
links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd.isdigit()
         and os.path.lexists(f"/proc/self/fd/{fd}")]
session.close()
os.write(1, json.dumps({"touched": touched, "links": links}).encode())
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
@pairs("tiny_int8.tflite", "tiny_fp32.onnx")
def test_an_engine_neither_talks_nor_phones_home(tmp_path: Path, engine: str, name: str) -> None:
    """No socket, no file in the home folder (where telemetry keeps its ids), not a word on the terminal."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, engine, str(ASSETS / name)],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["touched"] == []
    assert [link for link in report["links"] if link.startswith("socket:") or str(home) in link] == []
    assert list(home.rglob("*")) == []
