"""The built wheel, and clean environments to install it into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

INSTALL_TIMEOUT_S = 300
RUN_TIMEOUT_S = 120

#: Oldest first. `tflite-runtime` exists for the first of them only.
INTERPRETERS = ("3.11", "3.12", "3.13")

_notes = pytest.StashKey[list[tuple[str, str]]]()


class Environment(msgspec.Struct, frozen=True):
    """A virtual environment that holds what one `pip install` brought, and pip.

    Attributes:
        prefix: Its folder.
        home: The home folder that its programs see, empty at first.
        trace: Where its Python processes note attempts to reach the network.
    """

    prefix: Path
    home: Path
    trace: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.prefix / "bin" / "python"

    def bedside(self, *arguments: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the `bedside` command, see `run`."""
        return self.run(self.prefix / "bin" / "bedside", *arguments, cwd=cwd, code=code)

    def run(
        self, *command: str | Path, cwd: Path, code: int = 0, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with nothing of this process around it: no variables, no home, no way to the network.

        Fails if it looked for one.

        Args:
            command: Program and arguments.
            cwd: Where; outside the repository, so that only what is installed can be imported.
            code: The exit code that it must end with.
            timeout_s: For how long it may run.
        """
        self.trace.write_text("", encoding="utf-8")
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={
                "PATH": f"{self.prefix / 'bin'}:/usr/bin:/bin",
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(HERE / "offline"),
                "BEDSIDE_NETWORK_TRACE": str(self.trace),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == code, (
            f"{' '.join(map(str, command))}: exit code {done.returncode}, expected {code}\n"
            f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        assert set(self.trace.read_text(encoding="utf-8").splitlines()) == {"watching"}, command
        return done


class Distributions(msgspec.Struct, frozen=True):
    """What `python -m build` made of the repository.

    Attributes:
        sources: Copy of the repository's files that it was made from.
        sdist: Source distribution.
        wheel: Made from the sdist.
        direct: Wheel made from the repository without the sdist in between.
    """

    sources: Path
    sdist: Path
    wheel: Path
    direct: Path


def repository_files() -> list[Path]:
    """Files that are tracked, or would be if they were added, relative to the root."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {Path(name) for name in listing.stdout.split("\0") if name}
    return sorted(name for name in names if (ROOT / name).is_file())


def checked(command: Sequence[str | Path], timeout_s: float = INSTALL_TIMEOUT_S) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def interpreter(version: str) -> Path | None:
    """A CPython of that minor version that can make environments, or None."""
    candidates = [Path(sys.base_prefix) / "bin" / f"python{version}"]
    if (on_path := shutil.which(f"python{version}")) is not None:
        candidates.append(Path(on_path))
    if shutil.which("pyenv") is not None:
        prefix = subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True)
        candidates += [Path(line) / "bin" / f"python{version}" for line in prefix.stdout.splitlines()]
    question = "import sys, ensurepip, venv; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if candidate.exists():
            # A pyenv shim exists for versions that are not selected, and fails.
            answer = subprocess.run([str(candidate), "-c", question], capture_output=True, text=True)
            if answer.returncode == 0 and answer.stdout.split() == ["cpython", version]:
                return candidate
    return None


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist and the wheels, built once, from a copy: no stale `build/` or `*.egg-info` can help."""
    folder = tmp_path_factory.mktemp("dist")
    sources = folder / "sources"
    for name in repository_files():
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, sources / name)
    checked([sys.executable, "-m", "build", "--outdir", folder / "both", sources])
    checked([sys.executable, "-m", "build", "--wheel", "--outdir", folder / "direct", sources])
    (sdist,) = (folder / "both").glob("*.tar.gz")
    (wheel,) = (folder / "both").glob("*.whl")
    (direct,) = (folder / "direct").glob("*.whl")
    return Distributions(sources, sdist, wheel, direct)


EnvironmentFactory = Callable[..., Environment]


@pytest.fixture(scope="session")
def environment(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> EnvironmentFactory:
    """`environment(version, *extras, beside=())`: the wheel in an environment of its own, made once.

    With the libraries named in `beside`. Skips the test where there is no such interpreter.
    """
    made: dict[tuple[str, ...], Environment] = {}

    def make(version: str, *extras: str, beside: tuple[str, ...] = ()) -> Environment:
        key = (version, *extras, *beside)
        if key not in made:
            base = interpreter(version)
            if base is None:
                pytest.skip(f"CPython {version} is not on this machine")
            folder = tmp_path_factory.mktemp("-".join(("env", *key)))
            prefix = folder / "venv"
            checked([base, "-m", "venv", prefix])
            python = prefix / "bin" / "python"
            if version == "3.11":
                # Later versions do not bring it; nothing may need it by accident.
                checked([python, "-m", "pip", "uninstall", "--yes", "setuptools"])
            marked = f"[{','.join(extras)}]" if extras else ""
            wheel = f"bedside{marked} @ {distributions.wheel.as_uri()}"
            checked([python, "-m", "pip", "install", wheel, *beside])
            checked([python, "-m", "pip", "check"])
            (folder / "home").mkdir()
            made[key] = Environment(prefix, folder / "home", folder / "network.txt")
        return made[key]

    return make


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`note(title, text)`: shown at the end of the run, also when the test passed."""

    def add(title: str, text: str) -> None:
        request.config.stash.setdefault(_notes, []).append((title, text))

    return add


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print the notes."""
    for title, text in config.stash.get(_notes, []):
        terminalreporter.section(title)
        terminalreporter.write_line(text)


@pytest.fixture(autouse=True)
def outside_the_repository(tmp_path: Path) -> Iterator[None]:
    """Leave the repository: its folders must not be importable by accident."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)
