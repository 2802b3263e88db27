"""A bundle is written whole or not at all."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.writer import replacing, write_bundle
from bedside.runtime.errors import BedsideError, BundleError, SinkError


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def python(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, since it changes limits or user."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bug"),
        KeyboardInterrupt(),
        SystemExit(1),
        SinkError("no"),
        OSError(28, "No space left"),
        MemoryError(),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_half_written_stays(error: BaseException, existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.bedside"
    if existing:
        path.parent.mkdir()
        path.write_bytes(b"before")
    expected = SinkError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught, replacing(path) as file:
        file.write(b"x" * 100_000)
        assert not existing or path.read_bytes() == b"before"
        raise error
    if isinstance(caught.value, BedsideError):
        assert "\n" not in str(caught.value)
    assert listing(tmp_path) == (["sub", "sub/a.bedside"] if existing else ["sub"])
    if existing:
        assert path.read_bytes() == b"before"


def test_a_new_file_appears_whole_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with replacing(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert listing(tmp_path) == ["a"]


def test_the_disk_has_it_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, happened = tmp_path / "a", []
    sync, rename = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        happened.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else f"file, {path.exists()}")
        sync(handle)

    def replace(self: Path, target: Path) -> Path:
        happened.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(path) as file:
        file.write(b"x")
    assert happened == ["file, False", "rename", "folder"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)])
def test_its_mode_is_that_of_the_umask(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a") as file:
            file.write(b"x")
        assert os.umask(mask) == mask, "the umask was changed"
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == mode


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link, dangling = tmp_path / "real" / "a", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"before")
    link.symlink_to(target)
    dangling.symlink_to("real/new")
    for path in (link, dangling):
        with replacing(path) as file:
            file.write(b"after")
        assert path.is_symlink()
        assert path.read_bytes() == b"after"
    assert listing(tmp_path) == ["dangling", "link", "real", "real/a", "real/new"]


@pytest.mark.parametrize("make", ["folder", "pipe", "device", "loop", "behind a file", "long"])
def test_what_is_no_place_for_a_file(make: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "device":
        path = Path("/dev/null")
    elif make == "loop":
        path.symlink_to("a")
    elif make == "behind a file":
        path.write_bytes(b"x")
        path = path / "b"
    else:
        path = tmp_path / ("n" * 300)
    before = listing(tmp_path)
    with pytest.raises(SinkError) as caught, replacing(path) as file:
        file.write(b"x")
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert listing(tmp_path) == before
    if make == "device":
        assert path.is_char_device()


def test_a_long_name_that_the_folder_takes_is_taken(tmp_path: Path) -> None:
    for name in ("n" * 255, "\u00e4" * 127):
        with replacing(tmp_path / name) as file:
            file.write(b"x")
        assert (tmp_path / name).read_bytes() == b"x"


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import BedsideError
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[2])
try:
    if sys.argv[1] == "write":
        with replacing(path) as file:
            file.write(b"after")
    else:
        open_bundle(path)
except BedsideError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_read_only_folder_is_refused(open_folder: Path) -> None:
    folder = open_folder / "closed"
    folder.mkdir()
    (folder / "a").write_bytes(b"before")
    (folder / "a").chmod(0o666)
    folder.chmod(0o555)
    for path in (folder / "a", folder / "new", folder / "sub" / "new"):
        done = python(UNPRIVILEGED, "write", path)
        assert done.returncode == 6, done.stderr
        assert "Permission denied" in done.stdout
        assert done.stdout.count("\n") == 1
    assert listing(folder) == ["a"]
    assert (folder / "a").read_bytes() == b"before"


def test_a_read_only_file_is_not_replaced(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    path = open_folder / "a"
    path.write_bytes(b"before")
    path.chmod(0o444)
    done = python(UNPRIVILEGED, "write", path)
    assert done.returncode == 6, done.stderr
    assert "is read-only" in done.stdout
    assert path.read_bytes() == b"before"
    assert listing(open_folder) == ["a"]


def test_an_unreadable_bundle_is_refused(open_folder: Path) -> None:
    path = open_folder / "a"
    path.write_bytes(b"x")
    path.chmod(0)
    done = python(UNPRIVILEGED, "read", path)
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stdout


LIMITED = """
import resource, sys
from pathlib import Path
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import SinkError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with replacing(Path(sys.argv[1])) as file:
        for _ in range(100):
            file.write(b"x" * 1000)
except SinkError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """By a limit on file size, which fails the same write(2)."""
    path = tmp_path / "a"
    path.write_bytes(b"before")
    done = python(LIMITED, path)
    assert done.returncode == 6, done.stderr
    assert "File too large" in done.stdout
    assert listing(tmp_path) == ["a"]
    assert path.read_bytes() == b"before"


def test_a_really_full_disk_leaves_nothing(content: Any, tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "bedside-test", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        manifest, members = content
        write_bundle(tmp_path / "a", manifest, members)
        before = (tmp_path / "a").read_bytes()
        (tmp_path / "filler").write_bytes(bytes(4096))
        with pytest.raises(SinkError, match="No space left on device"):
            write_bundle(tmp_path / "a", msgspec.structs.replace(manifest, description="d" * 4000), members)
        assert listing(tmp_path) == ["a", "filler"]
        assert (tmp_path / "a").read_bytes() == before
        with open_bundle(tmp_path / "a") as bundle:
            bundle.verify_all()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _without(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {n: d for n, d in members.items() if n != name}


MISTAKES: dict[str, Callable[[Any, dict[str, bytes]], tuple[Any, dict[str, bytes]]]] = {
    "an extra member": lambda m, f: (m, {**f, "models/x.onnx": b"x"}),
    "a missing member": lambda m, f: (m, _without(f, "README.md")),
    "another content": lambda m, f: (m, {**f, "README.md": b"# CARD\n"}),
    "another length": lambda m, f: (m, {**f, "README.md": b"x"}),
    "bundle.json by hand": lambda m, f: (m, {**f, "bundle.json": b"{}"}),
    "an empty signature": lambda m, f: (m, {**f, "signatures.json": b""}),
    "a large signature": lambda m, f: (m, {**f, "signatures.json": bytes(1 << 17)}),
    "a manifest that breaks a rule": lambda m, f: (msgspec.structs.replace(m, task="detection"), f),
    "a manifest that breaks the schema": lambda m, f: (msgspec.structs.replace(m, name="Not A Name"), f),
    "a manifest with a number that is not finite": lambda m, f: (
        msgspec.structs.replace(m, eval_metrics={"accuracy": float("nan")}),
        f,
    ),
    "text that is no text": lambda m, f: (msgspec.structs.replace(m, description="\ud800"), f),
    "a manifest beyond its limit": lambda m, f: (
        msgspec.structs.replace(m, changelog={f"1.0.{i}": "x" * 4000 for i in range(300)}),
        f,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_no_reader_would_take_is_not_written(mistake: str, content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(BundleError) as caught:
        write_bundle(path, *MISTAKES[mistake](*content))
    assert "\n" not in str(caught.value)
    assert listing(tmp_path) == ["a"]
    assert path.read_bytes() == b"before"


def test_two_writers_at_once_leave_one_whole_file(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"1" * 1000)
        second.write(b"2" * 1000)
    assert path.read_bytes() == b"1" * 1000
    assert listing(tmp_path) == ["a"]


def test_resource_limits_are_those_of_the_child_only() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000
