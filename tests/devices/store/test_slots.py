"""What happens to a slot: versions, probation, what is put back, who may change it, and disks that refuse."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bedside.devices.store import transitions
from bedside.devices.store.audit_check import verify
from bedside.devices.store.files import SystemFiles
from bedside.devices.store.installing import activate, install, rollback
from bedside.devices.store.lock import alone
from bedside.devices.store.resolving import resolve, slot_of
from bedside.devices.store.state import MAX_SLOTS, Slot
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import BundleError, EngineError, SinkError, UsageError

from .conftest import Make, holds


def put(store: Store, path: Path, slot: str = "main", *, older: bool = False) -> str:
    """Install and activate; gives the digest."""
    done = install(store, str(path), slot, opening=open_bundle, allow_older=older)
    activate(store, slot, opening=open_bundle, replay=holds, allow_older=older)
    return done.ref.digest


def trusted(store: Store, path: Path, slot: str = "main") -> str:
    """Install, activate, and come through probation."""
    digest = put(store, path, slot)
    assert store.probation_passed(slot, digest=digest)
    return digest


def versions(slot: Slot) -> tuple[str | None, ...]:
    return tuple(ref.version if ref else None for ref in (slot.active, slot.previous, slot.candidate))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "lock" not in path.name
    }


def test_the_life_of_a_slot(store: Store, make: Make) -> None:
    assert store.state().slots == {}
    with pytest.raises(BundleError, match=r"slot main: has no active bundle \(bedside install"):
        store.start("main")
    done = install(store, str(make("1.0.0")), opening=open_bundle)
    assert (done.new, versions(done.slot)) == (True, (None, None, "1.0.0"))
    assert store.path(done.ref).read_bytes() == make("1.0.0").read_bytes()
    slot = activate(store, opening=open_bundle, replay=holds)
    assert (versions(slot), slot.probation) == (("1.0.0", None, None), 0)
    first = store.start("main")
    assert (first.ref, first.probation, first.note) == (done.ref, 1, None)
    assert first.path == resolve("slot:main", store)
    assert store.probation_passed("main")
    assert not store.probation_passed("main")
    again = store.start("main")
    assert (again.ref, again.probation) == (done.ref, None)
    put(store, make("1.1.0"))
    assert versions(store.state().slot("main")) == ("1.1.0", "1.0.0", None)
    # One of two that were activated without a probation between them is not what is put back.
    put(store, make("1.2.0"))
    assert versions(store.state().slot("main")) == ("1.2.0", "1.0.0", None)
    assert {p.stem for p in store.bundles.iterdir()} == {r.file for r in store.state().slot("main").refs}
    events = [record.event for record in store.audit.records()]
    assert events == [
        "installed",
        "activated",
        "started",
        "probation-passed",
        *["installed", "activated"] * 2,
    ]
    assert verify(store.audit.folder, anchor=store.state().audit).ok


@pytest.mark.fault("U2")
def test_a_failed_health_check_puts_the_previous_one_back(store: Store, make: Make) -> None:
    good = trusted(store, make("1.0.0"))
    bad = put(store, make("1.1.0"))
    assert store.start("main").ref.digest == bad
    unmoved = store.probation_failed("main", "health", digest=good)  # of another one than is active by now
    assert unmoved is not None and (unmoved.ref.digest, unmoved.probation) == (bad, 1)
    back = store.probation_failed("main", "health", digest=bad)
    assert back is not None and (back.ref.digest, back.probation, back.note) == (good, None, None)
    slot = store.state().slot("main")
    assert (versions(slot), slot.failed and slot.failed.why) == (("1.0.0", None, "1.1.0"), "health")
    record = list(store.audit.records())[-1]
    assert (record.event, record.facts.digest, record.facts.active) == ("probation-failed", bad, good)
    assert record.facts.reason == "health"
    with pytest.raises(BundleError, match=r"small 1.1.0 failed its probation here: health .*--again"):
        activate(store, opening=open_bundle, replay=holds)
    assert list(store.audit.records())[-1].facts.reason == "failed-before"
    # Not even after another one was there.
    put(store, make("1.2.0"))
    store.probation_passed("main")
    install(store, str(make("1.1.0")), opening=open_bundle, allow_older=True)
    with pytest.raises(BundleError, match="failed its probation here"):
        activate(store, opening=open_bundle, replay=holds, allow_older=True)
    assert activate(store, opening=open_bundle, replay=holds, allow_older=True, again=True).failed is None


@pytest.mark.fault("U2")
def test_crashes_on_probation_count(store: Store, make: Make, clock: ManualClock) -> None:
    good, bad = trusted(store, make("1.0.0")), put(store, make("1.1.0"))
    for number in range(1, transitions.MOST_STARTS + 1):
        # Each of them a process of its own, which then dies without a word.
        start = Store(store.folder, clock=clock).start("main")
        assert (start.ref.digest, start.probation) == (bad, number)
    start = Store(store.folder, clock=clock).start("main")
    assert (start.ref.digest, start.probation) == (good, None)
    assert start.note == "the bundle on probation was started 3 times without coming through"
    assert list(store.audit.records())[-1].facts.reason == "starts"


def test_nothing_to_go_back_to(store: Store, make: Make) -> None:
    put(store, make("1.0.0"))
    assert store.probation_failed("main", "crash") is None
    with pytest.raises(BundleError, match=r"no active bundle: the last one failed its probation \(crash\)"):
        store.start("main")
    with pytest.raises(BundleError, match="has no active bundle"):
        resolve("slot:main", store)
    # One that came through is better than none.
    trusted(store, make("1.1.0"), "other")
    kept = store.put_back("other", "crash")
    assert kept is not None and kept.ref.version == "1.1.0"


@pytest.mark.fault("E5")
def test_a_crash_loop_puts_the_previous_one_back(store: Store, make: Make) -> None:
    good, bad = trusted(store, make("1.0.0")), trusted(store, make("1.1.0"))
    assert store.probation_failed("main", "crash", digest=bad) == store.start("main")  # it is on none
    back = store.put_back("main", "crash", digest=bad)
    assert back is not None and back.ref.digest == good
    assert list(store.audit.records())[-1].event == "rolled-back"


@pytest.mark.fault("B7")
def test_an_older_version_is_refused(store: Store, make: Make) -> None:
    trusted(store, make("1.0.0"))
    trusted(store, make("1.10.0"))
    before = store.state().slots
    with pytest.raises(BundleError, match=r"small 1.9.0 is older than 1.10.0, .*rollback --slot main"):
        install(store, str(make("1.9.0")), opening=open_bundle)
    assert store.state().slots == before
    refused = list(store.audit.records())[-1]
    assert (refused.event, refused.facts.reason, refused.facts.version) == ("refused", "older", "1.9.0")
    # Installed while it was newer, no longer when it is activated.
    trusted(store, make("1.0.0"), "other")
    install(store, str(make("1.1.0")), "other", opening=open_bundle)
    ref = store.state().slot("other").candidate
    trusted(store, make("2.0.0"), "other")
    store.change("other", lambda slot: _with_candidate(slot, ref))
    with pytest.raises(BundleError, match=r"1.1.0 is older than 2.0.0"):
        activate(store, "other", opening=open_bundle, replay=holds)
    # What people ask for, they get.
    assert versions(rollback(store, opening=open_bundle, replay=holds)) == ("1.0.0", "1.10.0", None)
    assert versions(rollback(store, opening=open_bundle, replay=holds)) == ("1.10.0", "1.0.0", None)
    put(store, make("1.9.0"), older=True)
    assert versions(store.state().slot("main")) == ("1.9.0", "1.10.0", None)
    # Versions of another bundle say nothing.
    assert not transitions.is_older(store.start("other").ref, Slot()) and put(
        store, make("0.1.0", name="else")
    )


def _with_candidate(slot: Slot, ref: object) -> object:
    from bedside.devices.store.state import Ref
    from bedside.devices.store.store import Step

    assert isinstance(ref, Ref)
    return Step("installed", transitions.installed(slot, ref), ref)


@pytest.mark.fault("B11")
def test_goldens_that_do_not_hold(store: Store, make: Make) -> None:
    trusted(store, make("1.0.0"))
    install(store, str(make("1.1.0")), opening=open_bundle)
    before = store.state().slots

    def replay(bundle: object) -> None:
        raise EngineError("goldens do not hold: error 0.5, allowed 0.01", where="litert, tflite-fp32")

    with pytest.raises(EngineError, match="goldens do not hold"):
        activate(store, opening=open_bundle, replay=replay)
    assert store.state().slots == before
    assert list(store.audit.records())[-1].facts.reason == "golden"


def test_rollback_of_one_on_probation(store: Store, make: Make) -> None:
    with pytest.raises(UsageError, match="slot main: has no previous bundle to go back to"):
        rollback(store, opening=open_bundle, replay=holds)
    trusted(store, make("1.0.0"))
    put(store, make("1.1.0"))
    slot = rollback(store, opening=open_bundle, replay=holds)
    assert (versions(slot), slot.probation) == (("1.0.0", None, "1.1.0"), None)
    with pytest.raises(UsageError, match="slot main: has no previous bundle"):
        rollback(store, opening=open_bundle, replay=holds)


@pytest.mark.fault("U3")
def test_twice_is_once(store: Store, make: Make) -> None:
    install(store, str(make("1.0.0")), opening=open_bundle)
    before = snapshot(store.folder)
    done = install(store, str(make("1.0.0")), opening=open_bundle)
    assert (done.new, versions(done.slot)) == (False, (None, None, "1.0.0"))
    assert snapshot(store.folder) == before
    activate(store, opening=open_bundle, replay=holds)
    before = snapshot(store.folder)
    assert not install(store, str(make("1.0.0")), opening=open_bundle).new
    assert snapshot(store.folder) == before
    # Unless the disk lost a bit of it.
    path = store.path(done.ref)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert install(store, str(make("1.0.0")), opening=open_bundle).slot == store.state().slot("main")
    assert path.read_bytes() == make("1.0.0").read_bytes()
    assert versions(store.state().slot("main")) == ("1.0.0", None, None)


HOLDER = """
import sys
from pathlib import Path
from bedside.devices.store.installing import install
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle

def fetch(url, write, most):
    print("at work", flush=True)
    sys.stdin.readline()
    write(Path(sys.argv[2]).read_bytes())

done = install(Store(Path(sys.argv[1])), "https://example.org/x", opening=open_bundle, fetch=fetch)
print(done.ref.version)
"""


@pytest.mark.fault("U4")
def test_two_installers(store: Store, make: Make) -> None:
    command = [sys.executable, "-c", HOLDER, str(store.folder), str(make("1.0.0"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdin is not None
        assert first.stdout.readline() == "at work\n"
        said = rf"held by process {first.pid}, installing into slot main, since 20\d\d-\d\d-\d\dT\S+Z \(wait"
        with pytest.raises(UsageError, match=said):
            install(store, str(make("1.1.0")), opening=open_bundle)
        with pytest.raises(UsageError, match=f"held by process {first.pid}"):
            activate(store, opening=open_bundle, replay=holds)
        # A run that has to give up a bundle does not wait for a download.
        assert store.probation_failed("main", "crash") is None
        first.stdin.write("\n")
        first.stdin.flush()
        assert first.stdout.readline() == "1.0.0\n"
    assert versions(store.state().slot("main")) == (None, None, "1.0.0")
    assert install(store, str(make("1.1.0")), opening=open_bundle).new


@pytest.mark.fault("P2")
def test_the_second_instance_says_who_holds_the_device(disk: Path, clock: ManualClock) -> None:
    path = disk / "run.lock"
    path.write_bytes(b"\xff what a power cut left")
    with alone(path, "running slot main", clock):
        with pytest.raises(UsageError) as refused, alone(path, "running slot main", clock):
            pytest.fail("two at once")
        assert f"process {os.getpid()}, running slot main, since 2023-11-14T" in str(refused.value)
        path.write_bytes(b"{")
        with pytest.raises(UsageError, match="held by another process"), alone(path, "", clock):
            pytest.fail("two at once")
    with alone(path, "", clock):
        pass
    with pytest.raises(SinkError, match="cannot be locked"), alone(disk / "none" / "lock", "", clock):
        pytest.fail("no folder")


@pytest.mark.fault("U5")
@pytest.mark.parametrize("unix_ns", [0, -(10**18), 253_402_300_800 * 10**9, 10**30])
def test_no_clock_stops_the_device(disk: Path, make: Make, unix_ns: int) -> None:
    clock = ManualClock()
    store = Store(disk / "store", clock=clock)
    trusted(store, make("1.0.0"))
    clock.jump_wall(unix_ns - clock.unix_ns())
    put(store, make("1.1.0"))
    back = store.probation_failed("main", "stale")
    assert back is not None and back.ref.version == "1.0.0"
    with store.alone("testing"), pytest.raises(UsageError, match="held by process"):
        put(store, make("1.2.0"))
    clock.jump_wall(10**18)
    trusted(store, make("1.2.0"))
    rollback(store, opening=open_bundle, replay=holds)
    assert store.start("main").ref.version == "1.0.0"
    assert verify(store.audit.folder, anchor=store.state().audit).ok


BUSY = """
import itertools, sys
from pathlib import Path
from bedside.devices.store.installing import activate, install
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle

store = Store(Path(sys.argv[1]))
print("at work", flush=True)
for path in itertools.cycle(sys.argv[2:]):
    install(store, path, opening=open_bundle, allow_older=True)
    activate(store, opening=open_bundle, replay=lambda bundle: None, allow_older=True)
    store.probation_passed("main")
"""


@pytest.mark.fault("P1")
def test_killed_at_any_moment(tmp_path: Path, make: Make) -> None:
    store = Store(tmp_path / "store")
    paths = [make("1.0.0"), make("1.1.0")]
    for number in range(3):
        command = [sys.executable, "-c", BUSY, str(store.folder), *map(str, paths)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as busy:
            assert busy.stdout is not None
            assert busy.stdout.readline() == "at work\n"
            time.sleep(0.05 + 0.07 * number)
            busy.send_signal(signal.SIGKILL)
        for ref in store.state().slot("main").refs:
            with open_bundle(store.path(ref)) as bundle:
                bundle.verify_all()
                assert bundle.digest == ref.digest
        trusted(store, make(f"2.{number}.0"))
        assert {p.stem for p in store.bundles.iterdir()} == {r.file for r in store.state().slot("main").refs}
        verdict = verify(store.audit.folder, anchor=store.state().audit)
        assert verdict.ok, verdict.findings


class BrokenFiles(SystemFiles):
    """A disk that is full, or read-only, after so many operations."""

    def __init__(self, left: int, code: int) -> None:
        self.left = left
        self.code = code

    def _use(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))

    def create(self, path: Path) -> int:
        self._use()
        return super().create(path)

    def write(self, handle: int, data: bytes) -> None:
        if self.left <= 0:  # a part of it, as a full disk does
            super().write(handle, data[: len(data) // 2])
        self._use()
        super().write(handle, data)

    def sync(self, handle: int) -> None:
        self._use()
        super().sync(handle)

    def rename(self, old: Path, new: Path) -> None:
        self._use()
        super().rename(old, new)

    def sync_folder(self, path: Path) -> None:
        self._use()
        super().sync_folder(path)


def test_a_disk_that_is_full_at_any_moment(disk: Path, make: Make, clock: ManualClock) -> None:
    for left in itertools.count():
        folder = disk / f"store-{left}"
        good = Store(folder, clock=clock)
        trusted(good, make("1.0.0"))
        before = good.state().slots
        full = Store(folder, clock=clock, files=BrokenFiles(left, errno.ENOSPC))
        try:
            install(full, str(make("1.1.0")), opening=open_bundle)
        except SinkError as error:
            assert "No space left on device" in str(error) and "free space" in str(error)
            # Where nothing failed but the sync of its name, the new state is there, and may vanish.
            left_over = good.state().slots["main"]
            assert before["main"] in (left_over, msgspec.structs.replace(left_over, candidate=None))
        else:
            break
        put(good, make("1.1.0"))
        assert {p.stem for p in good.bundles.iterdir()} == {r.file for r in good.state().slot("main").refs}
        verdict = verify(good.audit.folder, anchor=good.state().audit)
        assert verdict.ok, verdict.findings
    assert left > 6


def test_a_read_only_disk_does_not_stop_the_device(store: Store, make: Make, clock: ManualClock) -> None:
    good = trusted(store, make("1.0.0"))
    stuck = Store(store.folder, clock=clock, files=BrokenFiles(0, errno.EROFS))
    assert stuck.start("main").ref.digest == good
    put(store, make("1.1.0"))
    start = stuck.start("main")
    assert start.ref.digest == good
    assert (
        start.note is not None and "cannot be counted: the store: cannot be written: Read-only" in start.note
    )
    back = stuck.probation_failed("main", "crash")
    assert back is not None and back.ref.digest == good
    assert back.note is not None and "is not on the disk" in back.note
    # The first one has nothing behind it: it runs.
    put(store, make("1.0.0"), "other")
    assert stuck.start("other").ref.digest == good


def test_names_of_slots(store: Store, make: Make) -> None:
    assert slot_of("slot:left-scope") == "left-scope"
    assert slot_of("left-scope") is None
    assert resolve("modality-cnn", store).name == "modality-cnn.bedside"
    for name in ("", "../x", "Main", "a" * 65, "x\n", "maria müller"):
        for attempt in (
            lambda name=name: install(store, str(make("1.0.0")), name, opening=open_bundle),
            lambda name=name: resolve(f"slot:{name}", store),
            lambda name=name: store.start(name),
        ):
            with pytest.raises(UsageError, match="is no name of a slot"):
                attempt()
    for number in range(MAX_SLOTS):
        install(store, str(make("1.0.0")), f"s{number}", opening=open_bundle)
    with pytest.raises(UsageError, match="64 slots are the most"):
        install(store, str(make("1.0.0")), "one-more", opening=open_bundle)
    assert len(list(store.bundles.iterdir())) == 1


def test_litter_goes_when_a_run_begins(store: Store, make: Make, clock: ManualClock) -> None:
    trusted(store, make("1.0.0"))
    litter = [store.bundles / f"{'ab' * 32}.bedside", store.bundles / ".arriving.0123.partial"]
    litter.append(store.folder / ".state.json.0123.partial")
    for path in litter:
        path.write_bytes(b"x")
    with alone(store.folder / "install.lock", "installing", clock):
        store.start("main")
        assert all(path.exists() for path in litter)  # it may be somebody's at work
    stuck = Store(store.folder, clock=clock, files=BrokenFiles(0, errno.EROFS))
    assert stuck.start("main").ref.version == "1.0.0"
    store.start("main")
    assert not any(path.exists() for path in litter)
    assert store.start("main").path.exists()


def test_another_file_under_its_name(store: Store, make: Make) -> None:
    trusted(store, make("1.0.0"))
    store.start("main").path.write_bytes(make("1.1.0").read_bytes())
    with pytest.raises(BundleError, match=r"slot main: its file is the bundle \w{64}, expected"):
        resolve("slot:main", store)
