"""What holds over the whole repository: layers, light imports, module sizes, faults, README commands."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PORTIONS = ("runtime", "devices", "export")
PROBE = ROOT / "tests" / "packaging" / "probe_imports.py"

MOST_LINES = 400

#: Training frameworks and what reads their files.
TRAINING = frozenset({"tensorflow", "keras", "tf_keras", "torch", "jax", "h5py", "onnx", "tf2onnx"})
#: Libraries that unpickle what they load, or are too big for what they would do here.
UNWIELDY = frozenset({"sklearn", "joblib", "dill", "cloudpickle", "pandas", "matplotlib"})
#: Imported when one is asked for, so that a host with one engine needs no other, and starts fast.
LAZY = frozenset({"ai_edge_litert", "tflite_runtime", "onnxruntime", "openvino"})
#: What only `bedside.devices` may bring in at import.
DEVICE_ONLY = frozenset({"rich", "psutil", "platformdirs", "pydicom", "gdcm", "cryptography"})

#: Loaders that execute what they read.
UNSAFE_LOADERS = frozenset({"pickle", "_pickle", "shelve", "marshal", "joblib", "dill", "cloudpickle"})

#: Every fault that the design knows, by group: bundle, source, engine, sink, update, process.
FAULTS = frozenset(
    f"{group}{number}"
    for group, last in {"B": 12, "S": 10, "E": 5, "K": 4, "U": 5, "P": 5}.items()
    for number in range(1, last + 1)
)
#: Those that this version handles. Extend it with each capability that lands: rollback
#: (B7), supervision in child processes (S1, S2, E1, E2, E5, P1, P2), gates on frozen and empty pictures (S4,
#: S5), camera identity (S9), storage trouble (K1, K3), slots (U1 to U5), soak (P3).
FAULTS_IN_SCOPE = frozenset(
    {
        "B1",
        "B2",
        "B3",
        "B4",
        "B5",
        "B6",
        "B7",
        "B8",
        "B9",
        "B10",
        "B11",
        "B12",
        "S3",
        "S6",
        "S7",
        "S8",
        "S10",
        "E3",
        "E4",
        "K2",
        "K4",
        "P2",
        "P3",
        "P4",
        "P5",
        "U1",
        "U3",
        "U4",
        "U5",
    }
)


LATE = "def late():\n    "


def repository_files() -> list[Path]:
    """Files that are tracked, or would be if they were added, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = (Path(name) for name in listing.stdout.split("\0") if name)
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def module_files(portion: str) -> list[Path]:
    """Modules below one of the three folders."""
    files = sorted(path for path in (ROOT / portion).rglob("*.py") if "__pycache__" not in path.parts)
    assert files, f"{portion} holds no module"
    return files


def import_name(path: Path) -> str:
    """`runtime/bundle/__init__.py` -> `bedside.runtime.bundle`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("bedside", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def lint_imports(project: Path, search_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the settings in `project`."""
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if search_path is not None:
        environment["PYTHONPATH"] = str(search_path)
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
            "--config",
            str(project / "pyproject.toml"),
        ],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


class TestLayers:
    def test_contracts_hold(self) -> None:
        done = lint_imports(ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        contracts = PROJECT["tool"]["importlinter"]["contracts"]
        assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout

    def test_every_module_is_seen(self) -> None:
        roots = PROJECT["tool"]["importlinter"]["root_packages"]
        assert roots == [f"bedside.{portion}" for portion in PORTIONS]
        graph = grimp.build_graph(roots[0], *roots[1:], cache_dir=None)
        assert graph.modules >= {import_name(path) for portion in PORTIONS for path in module_files(portion)}
        assert graph.count_imports() > 100

    @pytest.mark.parametrize(
        ("module", "line", "contract"),
        [
            ("devices/lapse.py", "import bedside.export", "devices and export stand on runtime"),
            (
                "runtime/lapse.py",
                LATE + "from bedside.devices import cli",
                "devices and export stand on runtime",
            ),
            ("runtime/lapse.py", LATE + "import tensorflow", "no training framework on the device"),
            ("devices/lapse.py", "import pickle", "no training framework on the device"),
            ("runtime/lapse.py", "import rich", "the runtime stands alone"),
        ],
    )
    def test_a_breach_is_seen(self, tmp_path: Path, module: str, line: str, contract: str) -> None:
        for portion in PORTIONS:
            shutil.copytree(
                ROOT / portion, tmp_path / "bedside" / portion, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        (tmp_path / "bedside" / module).write_text(line + "\n", encoding="utf-8")
        done = lint_imports(tmp_path, search_path=tmp_path)
        assert done.returncode == 1, done.stdout + done.stderr
        broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
        assert len(broken) == 1
        assert broken[0].startswith(contract)


class TestLightImports:
    """Importing everything that a device runs brings in nothing heavy, no engine, and unpickles nothing."""

    @pytest.mark.parametrize(
        ("portions", "absent"),
        [
            (("runtime",), TRAINING | UNWIELDY | LAZY | DEVICE_ONLY),
            (("runtime", "devices"), TRAINING | UNWIELDY | LAZY),
        ],
        ids=["runtime", "runtime and devices"],
    )
    def test_all_modules(self, tmp_path: Path, portions: tuple[str, ...], absent: frozenset[str]) -> None:
        done = subprocess.run(
            [sys.executable, str(PROBE), *(f"bedside.{portion}" for portion in portions)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        files = [path for portion in portions for path in module_files(portion)]
        assert set(report["walked"]) >= {import_name(path) for path in files}
        assert not absent.intersection(report["top_level"])
        assert report["unpickled"] == []

    @pytest.mark.parametrize("portion", PORTIONS)
    def test_no_loader_that_executes_what_it_reads(self, portion: str) -> None:
        lapses = {path: found for path in module_files(portion) if (found := list(unsafe(path)))}
        assert lapses == {}

    @pytest.mark.parametrize(
        "code",
        [
            "import pickle",
            "def late():\n    from shelve import open",
            "np.load(path)",
            "np.load(path, allow_pickle=True)",
            "numpy.lib.format.read_array(stream, allow_pickle=flag)",
            "eval(text)",
        ],
    )
    def test_such_a_loader_is_seen(self, tmp_path: Path, code: str) -> None:
        module = tmp_path / "lapse.py"
        module.write_text(code, encoding="utf-8")
        assert len(list(unsafe(module))) == 1


def unsafe(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that import an unpickler, let numpy unpickle, or evaluate text."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names) if any(n.name.split(".")[0] in UNSAFE_LOADERS for n in names):
                yield node.lineno, ast.unparse(node)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_LOADERS:
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=func, keywords=keywords):
                stated = [k.value for k in keywords if k.arg == "allow_pickle"]
                loads = ast.unparse(func) in ("np.load", "numpy.load")
                refused = any(isinstance(value, ast.Constant) and value.value is False for value in stated)
                if (loads or stated) and not refused:
                    yield node.lineno, ast.unparse(node)


class TestShape:
    @pytest.mark.parametrize("portion", PORTIONS)
    def test_no_module_outgrows_its_name(self, portion: str) -> None:
        counts = {
            str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
            for path in module_files(portion)
        }
        assert {name: lines for name, lines in counts.items() if lines > MOST_LINES} == {}

    def test_every_folder_of_modules_is_a_listed_package(self) -> None:
        # A folder that is not listed imports in an editable install and is missing from the wheel.
        folders = {path.parent for portion in PORTIONS for path in module_files(portion)}
        assert all((folder / "__init__.py").is_file() for folder in folders)
        packages = PROJECT["tool"]["setuptools"]["packages"]
        assert set(packages) == {import_name(folder / "__init__.py") for folder in folders}


def fault_markers(path: Path) -> Iterator[str]:
    """Ids in `pytest.mark.fault("..")` on the tests of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="fault"), args=args):
                for argument in args:
                    assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: an id to be evaluated"
                    yield str(argument.value)


class TestFaults:
    def test_every_fault_in_scope_has_a_test(self) -> None:
        marked = {fault for path in (ROOT / "tests").rglob("test_*.py") for fault in fault_markers(path)}
        assert FAULTS >= FAULTS_IN_SCOPE
        assert marked <= FAULTS, f"unknown ids: {sorted(marked - FAULTS)}"
        assert marked >= FAULTS_IN_SCOPE, f"no test injects {sorted(FAULTS_IN_SCOPE - marked)}"


class TestReadme:
    """The README's two commands are the ones that CI runs: it reads them there."""

    def test_commands(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        listed = subprocess.run(
            ["bash", str(ROOT / ".ci" / "run"), "--list"], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        demo = next(line for line in listed if line.endswith("bedside demo"))
        tests = next(line for line in listed if "-m pytest -n auto" in line)
        assert readme.count(demo) == 1
        assert readme.count(tests) == 1
        for command in (demo, tests):
            assert command.startswith("python3 -m venv .venv")
        extras = re.search(r"'\.\[(.+)\]'", tests)
        assert extras is not None
        assert set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"])

    def test_ci_can_be_started(self) -> None:
        script = ROOT / ".ci" / "run"
        assert os.access(script, os.X_OK)
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def words_of_this_machine() -> Iterator[str]:
    """Patterns of names that no other machine knows. Put together here, so as not to be found here."""
    folders = {ROOT, ROOT.parent, Path.home()} - {Path("/"), Path(tempfile.gettempdir()).resolve()}
    for folder in folders:
        yield re.escape(str(folder)) + r"/[\w.]"
    yield "|".join((r"/home/\w+/", r"/root" + "/", r"/Users/\w+/", r"[A-Z]:\\Users"))
    yield r"\.\." + "/shared"
    yield r"\.lib" + "rary/"
    yield "py" + r"pi\.org|--(?:extra-)?index-" + "url|--find-" + "links"


def test_nothing_names_this_machine() -> None:
    files = repository_files()
    assert Path("pyproject.toml") in files
    forbidden = re.compile("|".join(words_of_this_machine()))
    found = []
    for name in files:
        content = (ROOT / name).read_bytes()
        # Binary files too: a path left in a model is as much of a leak.
        text = content.decode("utf-8", errors="replace")
        found += [f"{name}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []
