"""The registry: what it offers, and why it does not offer the rest."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bedside.runtime import engines
from bedside.runtime.engines import SessionOptions, litert, registry
from bedside.runtime.errors import EngineError, UsageError

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@pytest.fixture
def fresh() -> Iterator[None]:
    """Statuses are looked up anew, before and after."""
    registry.status.cache_clear()
    yield
    registry.status.cache_clear()


def test_statuses_name_every_engine_in_the_order_of_preference() -> None:
    found = engines.statuses()
    assert [s.id for s in found] == ["litert", "tflite", "onnxruntime", "openvino"]
    for status in found:
        assert status.available == (status.version is not None) == (status.reason is None)
        assert status.reason is None or "pip install" in status.reason


def test_preference_is_declared_per_format() -> None:
    assert engines.preference("tflite") == ("litert", "tflite", "openvino")
    assert engines.preference("onnx") == ("onnxruntime", "openvino")


def test_an_unknown_engine_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError, match=r"'tensorrt' \(one of litert, tflite, onnxruntime, openvino\)"):
        engines.compile_model("tensorrt", b"", "onnx", SessionOptions())


def test_a_format_that_the_engine_does_not_read_is_named() -> None:
    with pytest.raises(EngineError, match=r"litert: does not read \.onnx files .*onnxruntime, openvino"):
        engines.compile_model("litert", b"", "onnx", SessionOptions())


@pytest.mark.fault("E3")
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("engine", ["litert", "tflite", "onnxruntime", "openvino"])
def test_an_engine_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    wanted = registry.spec(engine)
    for name in [m for m in sys.modules if m.split(".")[0] == wanted.package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(wanted.package), *sys.meta_path])
    status = engines.status(engine)
    assert not status.available
    assert status.reason == f"not installed: {wanted.install}"
    with pytest.raises(EngineError, match=f"{engine}: not available: not installed: pip install") as caught:
        engines.compile_model(engine, b"", wanted.formats[0], SessionOptions())
    assert caught.value.exit_code == 5


class _Missing:
    """Makes a package absent."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.fault("E3")
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError("libtbb.so.12: cannot open\nshared object file"),
            "does not load: libtbb.so.12: cannot open shared",
        ),
        (AttributeError("_ARRAY_API not found"), "does not load: _ARRAY_API not found"),
        (RuntimeError(), "does not load: RuntimeError"),
        (
            ModuleNotFoundError("No module named 'flatbuffers'", name="flatbuffers"),
            "dependency flatbuffers is missing",
        ),
    ],
)
def test_an_engine_that_does_not_load_says_why(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def broken(engine: str) -> object:
        raise error

    monkeypatch.setattr(litert, "load", broken)
    status = engines.status("litert")
    assert status.version is None
    assert status.reason is not None
    assert reason in status.reason
    assert "\n" not in status.reason


@pytest.mark.fault("E3")
@pytest.mark.usefixtures("fresh")
def test_tflite_runtime_is_not_used_with_a_numpy_that_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setattr(litert.np, "__version__", "2.1.0")
    reason = engines.status("tflite").reason
    assert reason is not None
    assert "is built for NumPy 1, this is NumPy 2.1.0" in reason
    assert "NumPy 1)" in reason


def test_importing_the_package_imports_no_engine() -> None:
    code = (
        "import sys; from bedside.runtime.engines import litert, openvino, ort;"
        "bad = {'ai_edge_litert', 'tflite_runtime', 'onnxruntime', 'openvino'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
