"""OpenVINO's own matters: the sealed file, the order of ports, and what was granted."""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bedside.runtime import engines
from bedside.runtime.engines import SessionOptions, openvino
from bedside.runtime.engines.inspection import FileTensor
from bedside.runtime.errors import EngineError

ASSETS = Path(__file__).resolve().parents[2] / "assets"

needs_openvino = pytest.mark.skipif(
    not engines.status("openvino").available, reason="openvino is not installed"
)


@pytest.mark.fault("B10")
def test_the_sealed_file_holds_the_bytes_and_cannot_be_changed() -> None:
    data = b"verified" * 1000
    with openvino._sealed(data) as path:
        assert path.name.endswith(".tflite")
        assert path.read_bytes() == data
        descriptor = os.open(path, os.O_RDWR)
        try:
            for change in (
                lambda: os.write(descriptor, b"swapped"),
                lambda: os.ftruncate(descriptor, 3),
                lambda: os.ftruncate(descriptor, 1 << 20),
                lambda: mmap.mmap(descriptor, 0, prot=mmap.PROT_WRITE),
            ):
                with pytest.raises(PermissionError):
                    change()
        finally:
            os.close(descriptor)
        assert path.read_bytes() == data
    assert not path.parent.exists()


@needs_openvino
def test_nothing_is_left_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = (ASSETS / "tiny_int8.tflite").read_bytes()
    session = engines.compile_model("openvino", data, "tflite", SessionOptions())
    assert list(tmp_path.iterdir()) == []
    session.invoke()
    session.close()


def test_no_folder_for_the_link_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(openvino.tempfile, "TemporaryDirectory", full)
    with (
        pytest.raises(EngineError, match=r"openvino: cannot be given a \.tflite file: No usable.*set TMPDIR"),
        openvino._sealed(b"x"),
    ):
        pytest.fail("nothing to read")


class Port:
    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def get_names(self) -> set[str]:
        return self.names


@pytest.mark.parametrize(
    ("ports", "wanted", "order"),
    [
        ([Port("a"), Port("b")], ("b", "a"), [1, 0]),
        ([Port("a", "x"), Port("b", "y")], ("y", "x"), [1, 0]),
        ([Port("p"), Port("q")], ("b", "a"), [0, 1]),
        ([Port("a"), Port("a")], ("a", "a"), [0, 1]),
        ([Port("a", "b"), Port()], ("a", "b"), [0, 1]),
    ],
)
def test_ports_are_sorted_as_in_the_file(
    ports: list[Port], wanted: tuple[str, ...], order: list[int]
) -> None:
    tensors = tuple(FileTensor(name, (1,), "float32") for name in wanted)
    assert [k for k, _ in openvino._in_file_order(ports, tensors, "openvino")] == order


def test_a_lost_output_is_an_error() -> None:
    tensors = (FileTensor("a", (1,), "float32"), FileTensor("b", (1,), "float32"))
    with pytest.raises(EngineError, match="sees 1 inputs or outputs where the file has 2"):
        openvino._in_file_order([Port("a")], tensors, "openvino")


@pytest.mark.fault("E3")
def test_another_device_or_precision_than_asked_for_is_refused() -> None:
    openvino._check_granted("openvino", ["CPU"], "f32", "float32")
    openvino._check_granted("openvino", ["CPU"], "f32", "f32")
    with pytest.raises(EngineError, match="runs on GPU, asked for CPU"):
        openvino._check_granted("openvino", ["GPU"], "f32", "float32")
    # What OpenVINO 2026.4 makes of f16 on a processor that has bf16 only.
    with pytest.raises(EngineError, match="runs in bfloat16, asked for f16"):
        openvino._check_granted("openvino", ["CPU"], "f16", "bfloat16")
