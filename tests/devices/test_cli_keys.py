"""`bedside keys` and `bedside sign`, and what `inspect`, `verify` and `run` make of signatures."""

from __future__ import annotations

import getpass
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.devices.store.store import Store
from bedside.devices.trust import TrustStore
from bedside.devices.trust.passphrase import VARIABLE
from bedside.runtime.bundle.container import dump
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.signatures import encode

Cli = Callable[..., Any]

SECRET = "correct horse battery"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any key, in an empty folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def key(cli: Cli, home: Path) -> str:
    """Id of a key `release`, in the folder and trusted."""
    done = cli("keys", "new", "release", "--trust", "--json")
    assert done.code == 0
    return str(done.json["key"])


def profile(folder: Path, trust: str) -> Path:
    path = folder / "device.toml"
    path.write_text(
        f'name = "device"\n[capture]\nsource = "synthetic:ultrasound?frames=3"\n[trust]\n{trust}\n'
    )
    return path


def test_a_key_from_the_workstation_to_the_device(cli: Cli, home: Path, tmp_path: Path) -> None:
    done = cli("keys", "new", "release-2026")
    assert done.code == 0
    private, public = home / "release-2026.key.pem", home / "release-2026.pub.pem"
    assert sorted(home.iterdir()) == [private, public]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "not encrypted" in done.out
    assert "PRIVATE KEY" not in done.out + done.err
    assert cli("keys", "list", "--json").json["trusted"] == []
    done = cli("keys", "import", public)
    assert done.code == 0
    assert "release-2026: trusted from now on" in done.out
    (listed,) = cli("keys", "list", "--json").json["trusted"]
    assert listed["name"] == "release-2026"
    assert listed["key"] in cli("keys", "list").out
    done = cli("keys", "export", "release-2026")
    assert done.out.encode() == public.read_bytes()
    assert cli("keys", "export", listed["key"][:8], "-o", "again.pem").code == 0
    assert (home / "again.pem").read_bytes() == public.read_bytes()


def test_a_store_of_its_own(cli: Cli, home: Path, tmp_path: Path) -> None:
    assert cli("keys", "new", "a", "--trust", "--store", tmp_path / "s").code == 0
    assert cli("keys", "list", "--json").json["trusted"] == []
    assert len(cli("keys", "list", "--json", "--store", tmp_path / "s").json["trusted"]) == 1


def test_keys_are_never_overwritten(cli: Cli, home: Path, key: str) -> None:
    before = {path: path.read_bytes() for path in home.iterdir()}
    for present in ("release.key.pem", "release.pub.pem"):
        done = cli("keys", "new", "release")
        assert done.code == 2
        assert "never overwritten" in done.line
        assert {path: path.read_bytes() for path in home.iterdir()} == before
        (home / present).unlink()
        del before[home / present]
    assert cli("keys", "export", "release", "-o", "device").code == 0
    done = cli("keys", "export", "release", "-o", "device")
    assert done.code == 2
    assert "never overwritten" in done.line


@pytest.mark.parametrize(
    "words",
    [
        ("keys",),
        ("keys", "lend"),
        ("keys", "new"),
        ("keys", "new", "../a"),
        ("keys", "new", ""),
        ("keys", "import", "missing.pem"),
        ("keys", "import", "."),
        ("keys", "export", "nobody"),
        ("keys", "export", "ab" * 32),
        ("keys", "revoke", "nobody"),
        ("keys", "revoke", "ab" * 32, "--reason", "x" * 300),
        ("sign", "missing.bedside"),
        ("sign", "missing.bedside", "--key", "missing.pem"),
    ],
)
def test_usage(cli: Cli, home: Path, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.line.startswith("bedside ")


def test_a_private_key_is_not_imported(cli: Cli, home: Path, key: str) -> None:
    done = cli("keys", "import", home / "release.key.pem", "--name", "x")
    assert done.code == 2
    assert "holds a private key" in done.line
    body = (home / "release.key.pem").read_text().splitlines()[1]
    assert body not in done.err


def test_a_passphrase_from_the_environment(
    cli: Cli, home: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    done = cli("keys", "new", "a", "--passphrase", "--trust")
    assert done.code == 0
    assert SECRET not in done.out + done.err
    assert b"ENCRYPTED" in (home / "a.key.pem").read_bytes()
    assert cli("sign", bundle, "--key", "a.key.pem").code == 0
    monkeypatch.setenv(VARIABLE, "another one")
    done = cli("sign", bundle, "--key", "a.key.pem", "--replace")
    assert done.code == 2
    assert "passphrase is wrong" in done.line
    monkeypatch.setenv(VARIABLE, "short")
    assert cli("keys", "new", "b", "--passphrase").code == 2
    assert not (home / "b.key.pem").exists()


def test_a_passphrase_from_the_terminal(
    cli: Cli, home: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: answers.pop(0))
    answers[:] = [SECRET, SECRET + "!"]
    done = cli("keys", "new", "a", "--passphrase")
    assert done.code == 2
    assert "differ" in done.line
    assert list(home.iterdir()) == []
    answers[:] = [SECRET, SECRET]
    assert cli("keys", "new", "a", "--passphrase").code == 0
    answers[:] = [SECRET]
    assert cli("sign", bundle, "--key", "a.key.pem").code == 0
    assert answers == []


def test_nobody_there_to_ask(cli: Cli, home: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    assert cli("keys", "new", "a", "--passphrase").code == 0
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    done = cli("sign", bundle, "--key", "a.key.pem")
    assert done.code == 2
    assert VARIABLE in done.line


def test_signed_and_shown(cli: Cli, key: str, bundle: Path) -> None:
    done = cli("sign", bundle, "--key", "release.key.pem", "--json")
    assert done.code == 0
    assert (done.json["key"], done.json["signers"], done.json["written"]) == (key, [key], True)
    with open_bundle(bundle) as opened:
        assert opened.digest == done.json["bundle"]
    assert "already; nothing changed" in cli("sign", bundle, "--key", "release.key.pem").out
    shown = cli("inspect", bundle, "--json").json
    assert shown["signed"] is True
    assert shown["refused"] is None
    assert shown["signatures"] == [{"key": key, "name": "release", "state": "trusted"}]
    assert f"trusted release ({key[:16]})" in cli("inspect", bundle).out


def test_inspect_judges_as_the_device_would(cli: Cli, key: str, bundle: Path, home: Path) -> None:
    assert cli("sign", bundle, "--key", "release.key.pem").code == 0
    device = profile(home, 'require_signature = true\nstore = "device-trust"')
    shown = cli("inspect", bundle, "--device", device, "--json").json
    assert [s["state"] for s in shown["signatures"]] == ["unknown"]
    assert "this device does not know" in shown["refused"]
    assert cli("keys", "import", "release.pub.pem", "--store", "device-trust").code == 0
    assert cli("inspect", bundle, "--device", device, "--json").json["refused"] is None
    assert cli("verify", bundle, "--device", device).code == 0


def test_verify_says_who_signed(cli: Cli, key: str, bundle: Path, home: Path) -> None:
    done = cli("verify", bundle, "--require-signature")
    assert done.code == 3
    assert "not signed" in done.line
    assert cli("sign", bundle, "--key", "release.key.pem", "-o", home / "s.bedside").code == 0
    done = cli("verify", home / "s.bedside", "--require-signature", "--json")
    assert done.code == 0
    assert [s["state"] for s in done.json["signatures"]] == ["trusted"]
    device = profile(home, "require_signature = true\nsignatures = 2")
    done = cli("verify", home / "s.bedside", "--device", device)
    assert done.code == 3
    assert "signed by 1 trusted key, and the profile requires 2" in done.line


@pytest.mark.fault("B6")
def test_run_obeys_the_policy(cli: Cli, key: str, bundle: Path, home: Path) -> None:
    device = profile(home, "require_signature = true")
    done = cli("run", bundle, "--device", device, "--json")
    assert done.code == 3
    assert done.out == ""
    assert "not signed, and the profile requires a signature" in done.line
    assert cli("sign", bundle, "--key", "release.key.pem").code == 0
    done = cli("run", bundle, "--device", device, "--sink", "null:", "--json")
    assert done.code == 0
    assert done.json["ledger"]["processed"] == 3
    assert cli("keys", "revoke", "release", "--reason", "stolen").code == 0
    done = cli("run", bundle, "--device", device, "--json")
    assert done.code == 3
    assert "revoked: release" in done.line
    assert cli("keys", "list", "--json").json["revoked"][0]["reason"] == "stolen"
    events = [(r.event, r.facts.reason, r.facts.key) for r in Store().audit.records()]
    assert events == [
        ("key-added", None, key),
        ("refused", "signature", None),
        ("key-revoked", None, key),
        ("refused", "signature", key),
    ]
    assert "refused here" in cli("inspect", bundle).out


@pytest.mark.fault("B6")
@pytest.mark.parametrize("words", [("tune", "--quick"), ("bench", "--scenario", "SingleStream")])
def test_measuring_obeys_it_as_well(cli: Cli, home: Path, bundle: Path, words: tuple[str, ...]) -> None:
    command, *options = words
    done = cli(command, bundle, "--device", profile(home, "require_signature = true"), *options)
    assert done.code == 3
    assert "not signed" in done.line


@pytest.mark.fault("B6")
def test_an_edited_bundle_is_refused_without_any_policy(cli: Cli, key: str, bundle: Path, home: Path) -> None:
    assert cli("sign", bundle, "--key", "release.key.pem").code == 0
    edited = home / "edited.bedside"
    with open_bundle(bundle) as opened, edited.open("wb") as file:
        members = {n: opened.read(n) for n in opened.manifest.files()}
        stored = opened.stored.replace(b"Random weights, for tests.", b"Cleared by everybody.")
        dump({**members, "bundle.json": stored, "signatures.json": encode(opened.signatures)}, file)
    for words in (("run", edited, "--source", "synthetic:ultrasound?frames=1"), ("verify", edited)):
        done = cli(*words)
        assert done.code == 3
        assert "not of this bundle: it was edited" in done.line
    done = cli("inspect", edited)
    assert done.code == 0
    assert "invalid release" in done.out
    assert "it was edited" in " ".join(done.out.split())


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("trust", "says"),
    [
        ("require-signature = true", "require-signature"),
        ('require_signature = "yes"', "trust.require_signature"),
        ("require_signature = true\nsignatures = 0", "trust.signatures"),
        ("require_signature = true\nsignatures = 17", "trust.signatures"),
        ("signatures = 2", "require_signature is false"),
        ('store = ""', "trust.store"),
        ("store = 1", "trust.store"),
        ('keys = ["ab"]', "trust.keys"),
    ],
)
def test_a_mistyped_policy(cli: Cli, home: Path, bundle: Path, trust: str, says: str) -> None:
    done = cli("run", bundle, "--device", profile(home, trust))
    assert done.code == 2
    assert says in done.line


def test_a_damaged_store_is_named(cli: Cli, key: str, bundle: Path, home: Path) -> None:
    assert cli("sign", bundle, "--key", "release.key.pem").code == 0
    path = TrustStore().folder / "keys" / f"{key}.json"
    path.write_bytes(b"{")
    for words in (
        ("keys", "list"),
        ("inspect", bundle),
        ("verify", bundle),
        ("run", bundle, "--source", "sample:echo-cine"),
    ):
        done = cli(*words)
        assert done.code == 3
        assert str(path) in done.line


def test_a_store_that_cannot_be_written(cli: Cli, home: Path) -> None:
    (home / "file").write_bytes(b"")
    done = cli("keys", "new", "a", "--trust", "--store", "file/trust")
    assert done.code == 6
    assert "file/trust: cannot be written" in done.line
