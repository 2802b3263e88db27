"""`bedside install | activate | rollback | status | audit`: with real bundles, engines and goldens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.store.resolving import resolve
from bedside.devices.store.store import Store
from bedside.devices.trust import open_trusted
from bedside.runtime.bundle.reader import dump_npy, open_bundle
from bedside.runtime.bundle.writer import file_ref, write_bundle
from bedside.runtime.loading import open_session

replace = msgspec.structs.replace

REQUIRES = 'name = "strict"\n[trust]\nrequire_signature = true\n'


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for every test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "bedside" / "store"


def renewed(bundle: Path, version: str, *, goldens_off: bool = False) -> Path:
    """The same models as another version, beside the first; its goldens hold, or do not on any host."""
    with open_bundle(bundle) as opened:
        manifest, members = opened.manifest, {n: opened.read(n) for n in opened.manifest.files()}
    manifest = replace(manifest, version=version)
    if goldens_off:
        golden = manifest.main.golden
        variants = []
        for variant in golden.variants:
            name = variant.outputs[0].file
            members[name] = dump_npy(np.full((2, 5), 0.2, np.float32))
            variants.append(replace(variant, outputs=(file_ref(name, members[name]),)))
        main = replace(manifest.main, golden=replace(golden, variants=tuple(variants)))
        manifest = replace(manifest, models={"main": main})
    path = bundle.with_name(f"{manifest.name}-{version}.bedside")
    write_bundle(path, manifest, members)
    return path


def test_from_nothing_to_a_rollback(cli: Callable[..., Any], bundle: Path, own_store: Path) -> None:
    done = cli("status")
    assert (done.code, done.out) == (0, "no slot holds a bundle: bedside install BUNDLE\n")
    assert not own_store.exists()
    with open_bundle(bundle) as opened:
        digest = opened.digest
    done = cli("install", bundle, "--sha256", digest.upper(), "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["installed"] is True
    assert (done.json["slot"], done.json["active"], done.json["candidate"]["digest"]) == (
        "main",
        None,
        digest,
    )
    assert cli("install", bundle, "--json").json["installed"] is False
    assert cli("install", bundle).out.endswith("is there already, nothing to do\n")
    done = cli("activate", "--json")
    assert done.code == 0
    assert (done.json["active"]["digest"], done.json["probation"]) == (digest, {"starts": 0, "most": 3})
    assert Store().probation_passed("main")
    newer = renewed(bundle, "1.1.0")
    assert cli("install", newer).out.startswith("slot main: tiny 1.1.0 (")
    assert "on probation; if it fails, tiny 1.0.0 (" in cli("activate").out
    done = cli("status")
    for text in ("main", "tiny 1.1.0", "tiny 1.0.0", "on probation, started 0 of 3 times"):
        assert text in done.out
    # What runs is a file of the store, which a run opens like any other.
    with open_bundle(resolve("slot:main")) as opened:
        assert opened.manifest.version == "1.1.0"
        open_session(opened).session.close()
    assert Path(resolve("slot:main")).is_relative_to(own_store)
    done = cli("rollback")
    assert (done.code, done.out[:22]) == (0, "slot main: tiny 1.0.0 ")
    slots = cli("status", "--json").json["slots"]
    assert (slots["main"]["active"]["digest"], slots["main"]["probation"]) == (digest, None)
    assert slots["main"]["candidate"]["version"] == "1.1.0"
    # Taken back while it was on probation, nobody said that it failed.
    assert cli("activate").code == 0
    Store().probation_failed("main", "hang")
    assert "failed its probation: hang" in cli("status").out
    done = cli("activate")
    assert done.code == 3
    assert "tiny 1.1.0 failed its probation here: hang" in done.line
    assert cli("activate", "--again").code == 0


@pytest.mark.fault("B11")
def test_goldens_differ_on_this_host(cli: Callable[..., Any], bundle: Path) -> None:
    assert cli("install", bundle).code == cli("activate").code == 0
    before = cli("status", "--json").json
    assert cli("install", renewed(bundle, "1.1.0", goldens_off=True)).code == 0
    done = cli("activate")
    assert done.code == 5
    for text in ("goldens do not hold", "is off by", "allowed is"):
        assert text in done.line, done.line
    with open_bundle(bundle) as opened:
        variant = opened.manifest.main.default
    assert variant in done.line and any(
        e in done.line for e in ("litert", "tflite", "onnxruntime", "openvino")
    )
    after = cli("status", "--json").json
    assert after["slots"]["main"]["active"] == before["slots"]["main"]["active"]
    records = cli("audit", "show", "--json").json["records"]
    assert (records[-1]["event"], records[-1]["facts"]["reason"]) == ("refused", "golden")


@pytest.mark.fault("B6")
def test_a_signature_that_is_required_and_missing(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "strict.toml"
    profile.write_text(REQUIRES)
    done = cli("install", bundle, "--device", profile)
    assert done.code == 3
    assert f"{bundle}: not signed, and the profile requires a signature" in done.line
    assert cli("install", bundle).code == 0
    assert cli("activate", "--device", profile).code == 3
    records = cli("audit", "show", "--json").json["records"]
    assert [r["event"] for r in records] == ["refused", "installed", "refused"]
    assert {r["facts"]["reason"] for r in records if r["event"] == "refused"} == {"signature"}
    with open_trusted(bundle) as (opened, _):
        assert records[2]["facts"]["digest"] == opened.digest


@pytest.mark.fault("B6")
def test_a_key_that_is_revoked_after_the_installation(
    cli: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "strict.toml"
    profile.write_text(REQUIRES)
    assert cli("install", bundle).code == 0
    unsigned = Store().state().slot("main").candidate
    assert cli("keys", "new", "release", "-o", tmp_path, "--trust").code == 0
    assert cli("sign", bundle, "--key", tmp_path / "release.key.pem").code == 0
    # The same bundle, another file: the signed one takes its place.
    assert cli("install", bundle, "--device", profile, "--json").json["installed"] is True
    signed = Store().state().slot("main").candidate
    assert unsigned is not None and signed is not None
    assert (signed.digest, signed.file != unsigned.file) == (unsigned.digest, True)
    assert cli("activate", "--device", profile).code == 0
    Store().probation_passed("main")
    assert cli("install", renewed(bundle, "1.1.0")).code == cli("activate").code == 0
    assert cli("keys", "revoke", "release").code == 0
    done = cli("rollback", "--device", profile)
    assert done.code == 3 and "revoked" in done.line
    assert cli("audit", "show", "--json").json["records"][-1]["facts"]["reason"] == "signature"
    assert cli("audit", "verify").code == 0


@pytest.mark.fault("B7")
def test_an_older_version(cli: Callable[..., Any], bundle: Path) -> None:
    assert cli("install", renewed(bundle, "1.2.0")).code == cli("activate").code == 0
    done = cli("install", bundle)
    assert done.code == 3
    assert "slot main: tiny 1.0.0 is older than 1.2.0, which is active" in done.line
    assert cli("install", bundle, "--allow-older").code == 0
    assert cli("activate").code == 3
    assert cli("activate", "--allow-older").code == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-100], "not a canonical bundle"),
        (lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], ""),
        (lambda data: b"", "the file is empty"),
    ],
)
@pytest.mark.fault("B1")
@pytest.mark.fault("B2")
def test_damaged_ones_do_not_get_in(
    cli: Callable[..., Any], bundle: Path, own_store: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    bundle.write_bytes(damage(bundle.read_bytes()))
    done = cli("install", bundle)
    assert done.code == 3
    assert str(bundle) in done.line and said in done.line
    assert list((own_store / "bundles").iterdir()) == []
    (record,) = cli("audit", "show", "--json").json["records"]
    assert (record["event"], record["facts"]["reason"]) == ("refused", "damaged")


def test_another_one_than_was_meant(cli: Callable[..., Any], bundle: Path) -> None:
    done = cli("install", bundle, "--sha256", "ab" * 32)
    assert done.code == 3
    assert "expected abab" in done.line
    assert cli("audit", "show", "--json").json["records"][-1]["facts"]["reason"] == "sha256"
    assert cli("install", bundle, "--sha256", "ab").code == 2
    assert cli("install", bundle.with_name("none"), "--json").code == 3
    assert cli("install", bundle, "--slot", "../up").code == 2
    assert cli("install", "http://example.org/x").code == 2
    assert cli("activate", "--slot", "empty").code == 2
    assert cli("rollback").code == 2


@pytest.mark.fault("B10")
def test_swapped_while_it_was_read(bundle: Path, own_store: Path) -> None:
    """What is checked is the copy, and the copy is what runs."""
    from bedside.devices.store.installing import install

    other = renewed(bundle, "6.6.6", goldens_off=True)
    opened = 0

    def opening(path: Path) -> Any:
        nonlocal opened
        opened += 1
        made = open_bundle(path)
        if path == bundle:
            shutil.copy(other, bundle)
        return made

    done = install(Store(), str(bundle), opening=opening)
    assert opened == 2
    # The file that was there when it was copied, checked as a whole.
    assert done.ref.version == "6.6.6"
    with open_bundle(Store().path(done.ref)) as stored:
        stored.verify_all()
        assert stored.digest == done.ref.digest


def test_the_log(cli: Callable[..., Any], bundle: Path, own_store: Path) -> None:
    assert cli("audit", "verify").out == "the log is empty\n"
    assert cli("install", bundle).code == cli("activate").code == 0
    done = cli("audit", "verify", "--json")
    assert (done.code, done.json["ok"], done.json["records"]) == (0, True, 2)
    head = done.json["head"]
    out = cli("audit", "verify", "--head", head["hash"]).out
    assert f"head 2: {head['hash']}\n" in out
    assert "cannot be told from inside: note the head elsewhere" in out
    assert "installed" in cli("audit", "show").out
    assert [r["seq"] for r in cli("audit", "show", "--last", "1", "--json").json["records"]] == [2]
    log = own_store / "audit" / "000000000001.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"main"', b'"other"', 1))
    done = cli("audit", "verify")
    assert done.code == 1
    assert "000000000001.jsonl, line 1: edited" in done.out and "THE LOG WAS CHANGED" in done.out
    # The end of it gone, and with it what the state names.
    log.write_bytes(whole.splitlines(keepends=True)[0])
    done = cli("audit", "verify", "--json")
    assert (done.code, done.json["ok"]) == (1, False)
    assert "names a record 2" in done.json["findings"][0]["what"]
    log.write_bytes(whole)
    assert cli("audit", "verify", "--head", "ab" * 32).code == 1
    assert cli("audit", "forget").code == 2


def test_nothing_of_a_path_gets_into_the_store(
    cli: Callable[..., Any], bundle: Path, own_store: Path
) -> None:
    """Canaries in the name of the file, its folder and the damage."""
    folder = bundle.parent / "Müller^Maria"
    folder.mkdir()
    path = Path(shutil.copy(bundle, folder / "MRN-4711.bedside"))
    assert cli("install", path).code == 0
    assert cli("activate").code == 0
    path.write_bytes(path.read_bytes()[:-7] + b"MRN-471")
    assert cli("install", path).code == 3
    for file in own_store.rglob("*"):
        assert "4711" not in file.name
        if file.suffix in (".jsonl", ".json", ".lock"):
            data = file.read_bytes()
            assert b"MRN" not in data and "Müller".encode() not in data and bytes(bundle.parent) not in data


def test_in_a_process_of_its_own(bundle: Path, own_store: Path) -> None:
    """The command as a device runs it, with what it prints."""
    command = [sys.executable, "-m", "bedside.devices.cli.main", "install", str(bundle), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["installed"] is True
    assert Store(own_store).state().slot("main").candidate is not None
