"""The wheel in clean environments, end to end: no TensorFlow, no network, nothing from the repository."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

#: What a device must not have.
WORKSTATION = frozenset({"tensorflow", "keras", "torch", "jax", "h5py", "onnx", "tf2onnx"})

STARTER = "modality-cnn"

#: pydicom's echo cine: how many frames, and at least how many of them must be called what they are.
CINE = "examples_ybr_color.dcm"
CINE_FRAMES = 30
CINE_RIGHT = 28

FIELDS = {
    *("schema", "session", "stream", "seq", "captured_ns", "age_ms", "outcome", "reason"),
    *("task", "result", "bundle", "variant", "engine", "precision"),
}


def tell(environment: Any, cwd: Path, expression: str, imports: str) -> str:
    """Evaluate a Python expression in an environment."""
    code = f"import {imports}; print({expression})"
    return str(environment.run(environment.python, "-c", code, cwd=cwd).stdout.strip())


def starter(environment: Any, cwd: Path) -> str:
    """Path of the starter bundle that came with the wheel."""
    folder = Path(tell(environment, cwd, "bedside.devices.starters.__path__[0]", "bedside.devices.starters"))
    assert environment.prefix in folder.parents
    bundle = folder / f"{STARTER}.bedside"
    assert bundle.stat().st_size <= 2_000_000
    return str(bundle)


def cine(environment: Any, cwd: Path) -> str:
    """Path of the echo cine that came with pydicom."""
    return tell(environment, cwd, f"pydicom.data.get_testdata_file({CINE!r}, download=False)", "pydicom.data")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_cine(environment: Any, cwd: Path, *options: str) -> dict[str, Any]:
    """`bedside run` of the starter bundle on the cine; checks every record. Returns the summary."""
    records = cwd / "results.jsonl"
    stream = (starter(environment, cwd), "--source", cine(environment, cwd), "--sink", f"jsonl:{records}")
    done = environment.bedside("run", *stream, "--json", *options, cwd=cwd)
    summary: dict[str, Any] = json.loads(done.stdout)
    lines = read_lines(records)
    assert len(lines) == CINE_FRAMES
    assert all(set(line) >= FIELDS for line in lines)
    assert [line["seq"] for line in lines] == sorted({line["seq"] for line in lines})
    assert {line["outcome"] for line in lines} == {"ok"}
    labels = Counter(line["result"]["label"] for line in lines)
    assert labels["ultrasound"] >= CINE_RIGHT, labels
    ledger = summary["ledger"]
    assert (ledger["captured"], ledger["processed"]) == (CINE_FRAMES, CINE_FRAMES)
    assert not any(ledger[column] for column in ("dropped", "withheld", "failed"))
    assert summary["bundle"] == lines[0]["bundle"]
    assert {line["engine"] for line in lines} == {summary["engine"]}
    return summary


def engines_that_agree(environment: Any, cwd: Path, bundle: str) -> set[str]:
    """`bedside verify`: the engines on which every variant that they read answered the goldens."""
    verified = json.loads(environment.bedside("verify", bundle, "--json", cwd=cwd).stdout)
    assert verified["ok"] is True
    assert all(check["ok"] for check in verified["checks"])
    return {check["engine"] for check in verified["checks"]}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
class TestBase:
    """`pip install bedside`: one engine, video, images, DICOM."""

    def test_every_module_imports_and_is_light(
        self, environment: Callable[..., Any], tmp_path: Path, version: str
    ) -> None:
        base = environment(version)
        imports = (HERE / "probe_imports.py", "bedside.runtime", "bedside.devices")
        report = json.loads(base.run(base.python, *imports, cwd=tmp_path).stdout)
        modules = [p for portion in ("runtime", "devices") for p in (ROOT / portion).rglob("*.py")]
        assert len(report["walked"]) >= len([p for p in modules if "__pycache__" not in p.parts])
        assert not WORKSTATION.intersection(report["top_level"])
        assert report["unpickled"] == []
        installed = json.loads(base.run(base.python, HERE / "probe_installed.py", cwd=tmp_path).stdout)
        assert not WORKSTATION.intersection(package["name"] for package in installed)

    def test_cine(self, environment: Callable[..., Any], tmp_path: Path, version: str) -> None:
        summary = run_cine(environment(version), tmp_path)
        assert summary["engine"] == "litert"

    def test_demo(self, environment: Callable[..., Any], tmp_path: Path, version: str) -> None:
        base = environment(version)
        base.bedside("demo", cwd=tmp_path)
        (folder,) = {path.parent for path in tmp_path.rglob("results.jsonl")}
        assert {path.name for path in folder.iterdir()} >= {"results.jsonl", "overlay.webm", "report.html"}
        lines = read_lines(folder / "results.jsonl")
        assert len(lines) >= CINE_FRAMES
        labels = Counter(line["result"]["label"] for line in lines if line["outcome"] == "ok")
        assert labels["ultrasound"] >= 0.9 * len(lines), labels
        report = (folder / "report.html").read_text(encoding="utf-8")
        assert "</html>" in report
        assert re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", report) is None

    def test_other_commands(self, environment: Callable[..., Any], tmp_path: Path, version: str) -> None:
        base = environment(version)
        bundle = starter(base, tmp_path)
        inspected = json.loads(base.bedside("inspect", bundle, "--json", cwd=tmp_path).stdout)
        assert inspected["manifest"]["name"] == STARTER
        assert engines_that_agree(base, tmp_path, bundle) == {"litert"}
        probed = json.loads(base.bedside("probe", "--json", cwd=tmp_path).stdout)
        missing = {
            engine["id"]: engine["reason"] for engine in probed["engines"] if engine["version"] is None
        }
        assert set(missing) == {"tflite", "onnxruntime", "openvino"}
        assert all("bedside[" in reason for reason in missing.values())

    @pytest.mark.parametrize(
        ("command", "code", "extra"),
        [
            (("run", STARTER, "--source", "synthetic:ultrasound", "--engine", "openvino"), 5, "openvino"),
            (("export", "demo-from-scratch", "-o", "x.bedside"), 2, "export"),
            (("demo", "--from-scratch"), 2, "export"),
        ],
        ids=["engine", "export", "demo"],
    )
    def test_what_is_not_installed_is_named(
        self,
        environment: Callable[..., Any],
        tmp_path: Path,
        version: str,
        command: tuple[str, ...],
        code: int,
        extra: str,
    ) -> None:
        said = environment(version).bedside(*command, cwd=tmp_path, code=code).stderr
        assert len(said.strip().splitlines()) == 1
        assert f"bedside[{extra}]" in said
        assert list(tmp_path.rglob("*.*")) == []


class TestEngines:
    """`pip install bedside[onnx,openvino]`: every variant on every engine."""

    def test_verify_and_run(self, environment: Callable[..., Any], tmp_path: Path) -> None:
        device = environment("3.11", "onnx", "openvino")
        bundle = starter(device, tmp_path)
        assert engines_that_agree(device, tmp_path, bundle) == {"litert", "onnxruntime", "openvino"}
        assert run_cine(device, tmp_path, "--engine", "openvino")["engine"] == "openvino"


class TestTflite:
    """`pip install bedside[tflite]`: the old interpreter, NumPy 1 and the OpenCV that goes with it."""

    def test_versions(self, environment: Callable[..., Any], tmp_path: Path) -> None:
        device = environment("3.11", "tflite", "test")
        assert tell(device, tmp_path, "numpy.__version__", "numpy").startswith("1.")
        assert tell(device, tmp_path, "cv2.__version__", "cv2").startswith("4.11.")

    def test_cine(self, environment: Callable[..., Any], tmp_path: Path) -> None:
        device = environment("3.11", "tflite", "test")
        assert run_cine(device, tmp_path, "--engine", "tflite")["engine"] == "tflite"

    def test_engine_contract(self, environment: Callable[..., Any], tmp_path: Path) -> None:
        device = environment("3.11", "tflite", "test")
        # A copy of the tests alone: beside the packages' folders, `bedside` could come from there.
        shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        suite = "tests/contracts/test_engine_contract.py"
        device.run(
            *(device.python, "-m", "pytest", suite, "-p", "no:cacheprovider", "--junit-xml=report.xml"),
            cwd=tmp_path,
            timeout_s=240,
        )
        cases = ElementTree.parse(tmp_path / "report.xml").getroot().iter("testcase")
        passed = [case.attrib["name"] for case in cases if not len(case)]
        for engine in ("litert", "tflite"):
            assert len([name for name in passed if re.search(rf"[\[-]{engine}-", name)]) >= 10, passed
