from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.devices.tuning import store
from bedside.devices.tuning.host import Host, this_host
from bedside.devices.tuning.ranking import Ranking
from bedside.devices.tuning.store import Found, alone, default_folder, find_ranking, look_up, save
from bedside.runtime.errors import SinkError, UsageError

from .conftest import DIGEST, HOST


def refusal(found: Found) -> str:
    """The one line that says why a ranking is not used, and what to do."""
    assert found.ranking is None
    assert found.refused is not None
    assert "\n" not in found.refused
    assert found.refused.endswith("run `bedside tune` again")
    return found.refused


def test_what_was_stored_is_found(ranking: Ranking, tmp_path: Path) -> None:
    assert look_up(DIGEST, HOST, folder=tmp_path / "none") == Found()
    path = save(ranking, folder=tmp_path / "made")
    assert look_up(DIGEST, HOST, folder=path.parent) == Found(ranking)
    assert find_ranking(DIGEST, HOST, folder=path.parent) == ranking
    assert find_ranking("cd" * 32, HOST, folder=path.parent) is None
    later = msgspec.structs.replace(ranking, fps=60.0)
    assert save(later, folder=path.parent) == path
    assert find_ranking(DIGEST, HOST, folder=path.parent) == later
    assert list(path.parent.iterdir()) == [path]


def test_it_lies_in_the_users_data_folder(ranking: Ranking, user_data: Path) -> None:
    assert default_folder() == user_data / "bedside" / "rankings"
    here = msgspec.structs.replace(ranking, host=this_host(), bundle="12" * 32)
    path = save(here)
    try:
        assert path.is_relative_to(user_data)
        assert find_ranking("12" * 32) == here
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpu": "AMD Ryzen"}, "processor AMD Ryzen instead of Intel(R) N100"),
        ({"features": ("avx2",)}, "processor features avx2 instead of avx2 avx_vnni"),
        ({"physical_cores": 2}, "cores 2 instead of 4"),
        ({"quota": 1.5}, "container's quota 1.5 instead of none"),
        ({"system": "Linux 6.12"}, "system Linux 6.12 instead of Linux 6.1"),
        ({"bedside": "0.3.0"}, "bedside 0.3.0 instead of 0.2.0"),
        (
            {"engines": {"litert": "2.1.0", "openvino": "2026.2.0"}},
            "openvino 2026.2.0 instead of 2026.1.0",
        ),
        ({"engines": {"litert": "2.1.0"}}, "openvino is absent instead of 2026.1.0"),
        (
            {"engines": {**HOST.engines, "onnxruntime": "1.30"}},
            "onnxruntime 1.30 instead of none",
        ),
    ],
)
def test_another_host_is_refused(
    ranking: Ranking, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    here = msgspec.structs.replace(HOST, **change)
    assert here.fingerprint != HOST.fingerprint
    path = save(ranking, folder=tmp_path)
    assert said in refusal(look_up(DIGEST, here, folder=tmp_path))
    # A file that somebody gave the name of this host's is found out as well.
    path.rename(path.with_name(f"{DIGEST[:32]}-{here.fingerprint[:16]}.json"))
    assert f"it was measured elsewhere: {said}" in refusal(look_up(DIGEST, here, folder=tmp_path))
    assert find_ranking(DIGEST, here, folder=tmp_path) is None


def test_two_hosts_share_a_folder(ranking: Ranking, tmp_path: Path) -> None:
    there = msgspec.structs.replace(ranking, host=msgspec.structs.replace(HOST, cpu="AMD Ryzen"))
    assert save(ranking, folder=tmp_path) != save(there, folder=tmp_path)
    assert find_ranking(DIGEST, HOST, folder=tmp_path) == ranking
    assert find_ranking(DIGEST, there.host, folder=tmp_path) == there


def test_another_bundle_is_refused(ranking: Ranking, tmp_path: Path) -> None:
    path = save(ranking, folder=tmp_path)
    other = DIGEST[:32] + "cd" * 16
    assert "of another bundle, tiny 1.0.0" in refusal(look_up(other, HOST, folder=path.parent))


def test_a_torn_file_is_refused(ranking: Ranking, tmp_path: Path) -> None:
    path = save(ranking, folder=tmp_path)
    whole = path.read_bytes()
    for end in (0, 1, len(whole) // 3, len(whole) - 40, len(whole) - 3):
        path.write_bytes(whole[:end])
        assert "it is damaged" in refusal(look_up(DIGEST, HOST, folder=tmp_path))


def test_an_old_or_a_new_file_is_refused(ranking: Ranking, tmp_path: Path) -> None:
    path = save(ranking, folder=tmp_path)
    whole = path.read_bytes()
    for version in (b"bedside.ranking/0", b"bedside.ranking/2"):
        path.write_bytes(whole.replace(b"bedside.ranking/1", version))
        assert "another version of bedside" in refusal(look_up(DIGEST, HOST, folder=tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"threads": 2', b'"threads": 100000', "threads"),
        (b'"engine": "openvino"', b'"engine": "../../x"', "engine"),
        (b'"low_ms": 1.1', b'"low_ms": -1.1', "low_ms"),
        (b'"low_ms": 1.1', b'"low_ms": 1e999', "damaged"),
        (b'"low_ms": 1.1', b'"low_ms": NaN', "damaged"),
        (b'"name": "tiny"', b'"name": "\\u001b[31m"', "name"),
        (b'"quick": false', b'"quick": false, "more": 1', "more"),
        (b'"fps": 30.0', b'"fps": 0', "fps"),
        (b'"taken_unix_ns": 17', b'"taken_unix_ns": 9917', "damaged"),
        (b'"cpu": "Intel(R) N100"', b'"cpu": "\xff"', "damaged"),
    ],
)
def test_a_hostile_file_is_refused(
    ranking: Ranking, tmp_path: Path, old: bytes, new: bytes, said: str
) -> None:
    path = save(ranking, folder=tmp_path)
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))
    assert said in refusal(look_up(DIGEST, HOST, folder=tmp_path))


def test_files_that_are_no_files_are_refused(ranking: Ranking, tmp_path: Path) -> None:
    path = save(ranking, folder=tmp_path)
    path.unlink()
    path.mkdir()
    assert "cannot be read" in refusal(look_up(DIGEST, HOST, folder=tmp_path))
    path.rmdir()
    os.mkfifo(path)
    assert "no regular file" in refusal(look_up(DIGEST, HOST, folder=tmp_path))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "no regular file" in refusal(look_up(DIGEST, HOST, folder=tmp_path))
    path.unlink()
    path.symlink_to(path)
    assert "cannot be read" in refusal(look_up(DIGEST, HOST, folder=tmp_path))
    path.unlink()
    path.write_bytes(b" " * (store.MAX_BYTES + 1))
    assert "more than" in refusal(look_up(DIGEST, HOST, folder=tmp_path))
    path.write_bytes(b"[" * 500_000)
    assert "it is damaged" in refusal(look_up(DIGEST, HOST, folder=tmp_path))


@given(st.binary(max_size=200), st.integers(0, 4000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_whatever_is_in_it_a_run_goes_on(ranking: Ranking, tmp_path: Path, noise: bytes, at: int) -> None:
    path = save(ranking, folder=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    found = look_up(DIGEST, HOST, folder=tmp_path)
    assert found.ranking is not None or refusal(found)


def test_a_folder_that_cannot_be_written(ranking: Ranking, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be written"):
        save(ranking, folder=tmp_path / "file")
    with pytest.raises(SinkError, match="cannot be written"), alone(tmp_path / "file"):
        pass
    assert look_up(DIGEST, HOST, folder=tmp_path / "file") == Found()


def test_only_one_measures(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(UsageError, match="another `bedside tune` is at work"),
        alone(tmp_path),
    ):
        pytest.fail("two measure")
    with alone(tmp_path):
        pass


def test_whoever_reads_finds_a_whole_one(ranking: Ranking, tmp_path: Path) -> None:
    save(ranking, folder=tmp_path)
    stop = threading.Event()
    failed: list[str] = []

    def read() -> None:
        while not stop.is_set():
            found = look_up(DIGEST, HOST, folder=tmp_path)
            if found.ranking is None:
                failed.append(str(found.refused))

    reader = threading.Thread(target=read)
    reader.start()
    for fps in range(1, 40):
        save(msgspec.structs.replace(ranking, fps=float(fps)), folder=tmp_path)
    stop.set()
    reader.join()
    assert failed == []


def test_this_host() -> None:
    here = this_host()
    assert here == this_host()
    assert len(here.fingerprint) == 64
    assert here.differences(here) == ""
    assert here.engines, "an engine is installed here"
    assert msgspec.json.decode(msgspec.json.encode(here), type=Host) == here
    assert msgspec.json.decode(msgspec.json.encode(here), type=Host).fingerprint == here.fingerprint


def test_it_asks_for_no_engine() -> None:
    """`bedside run` looks for a ranking before it knows which engine it needs."""
    import subprocess
    import sys

    code = (
        "import sys; from bedside.devices.tuning.host import this_host; this_host(); "
        "print(*({'ai_edge_litert', 'tflite_runtime', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
