"""The power goes at every write, sync, rename and unlink: the old state stands, or the new one, whole (fault U1).

`crashes` makes the states; here each of them is opened, held against what had been promised, and installed into.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from bedside.devices.store.audit import AuditLimits
from bedside.devices.store.audit_check import verify
from bedside.devices.store.files import PARTIAL
from bedside.devices.store.installing import activate, install, rollback
from bedside.devices.store.resolving import resolve
from bedside.devices.store.state import Anchor, Slot
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import BundleError

from .conftest import holds, write_small
from .crashes import Killed, RecordedFiles, Tree, crashed, write_tree

#: So small that files of the log are full, and go, all the time.
LIMITS = AuditLimits(file_bytes=1800, files=5)
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "9.0.0")

Slots = dict[str, Slot]


class Acknowledged(msgspec.Struct, frozen=True):
    """What had been promised after so many operations."""

    ops: int
    slots: Slots
    head: Anchor | None


class Life:
    """A store on a recorded disk, and what was promised when.

    Args:
        root: Of the disk.
        files: Records.
        bundles: By version.
    """

    def __init__(self, root: Path, files: RecordedFiles, bundles: dict[str, Path]) -> None:
        self.files = files
        self.bundles = bundles
        self.store = Store(root / "store", clock=ManualClock(), files=files, limits=LIMITS)
        self.promised: list[Acknowledged] = []
        self._note()

    def _note(self) -> None:
        state = self.store.state()
        self.promised.append(Acknowledged(len(self.files.ops), state.slots, state.audit))

    def do(self, *steps: Callable[[], object]) -> None:
        for step in steps:
            step()
            self._note()

    def install(self, version: str, slot: str = "main") -> Callable[[], object]:
        path = str(self.bundles[version])
        return lambda: install(self.store, path, slot, opening=open_bundle, allow_older=True)

    def activate(self, slot: str = "main") -> Callable[[], object]:
        return lambda: activate(
            self.store, slot, opening=open_bundle, replay=holds, allow_older=True, again=True
        )

    def rollback(self) -> Callable[[], object]:
        return lambda: rollback(self.store, opening=open_bundle, replay=holds)

    def start(self, slot: str = "main") -> Callable[[], object]:
        def start() -> None:
            with suppress(BundleError):  # a crash loop, and nothing to go back to
                self.store.start(slot)

        return start

    def passed(self) -> Callable[[], object]:
        return lambda: self.store.probation_passed("main")

    def failed(self) -> Callable[[], object]:
        return lambda: self.store.probation_failed("main", "crash")

    def short(self) -> None:
        """An update that fails."""
        self.do(self.install("1.0.0"), self.activate(), self.start(), self.passed())
        self.do(self.install("1.1.0"), self.activate(), self.failed())

    def whole(self) -> None:
        """An update that fails, one that does not, older versions on purpose, and a crash loop in another slot."""
        self.short()
        self.do(self.install("1.1.0"), self.install("1.2.0"), self.activate(), self.start(), self.passed())
        self.do(self.install("1.2.0"), self.install("1.3.0", "other"), self.activate("other"))
        self.do(*[self.start("other")] * 4)
        self.do(self.rollback(), self.install("1.3.0"), self.activate(), self.rollback())

    def random(self, rng: random.Random, steps: int) -> None:
        """Whatever can be done, in any order."""
        for _ in range(steps):
            slot = self.store.state().slot("main")
            can = [self.install(rng.choice(VERSIONS[:4]))] * 3
            can += [self.activate()] * 4 * (slot.candidate is not None) + [self.start()] * (
                slot.active is not None
            )
            can += [self.rollback()] * (slot.previous is not None)
            can += [self.passed(), self.failed()] * (slot.probation is not None)
            self.do(rng.choice(can))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {version: write_small(folder / f"{version}.bedside", version) for version in VERSIONS}


def allowed(promised: list[Acknowledged], ops: int) -> tuple[Acknowledged, list[Slots]]:
    """What was promised last, and every state that may stand: that one, and the one that was on its way."""
    done = [p for p in promised if p.ops <= ops]
    coming = [p.slots for p in promised if p.ops > ops][:1]
    # Steps that change nothing on the disk are promised at the same operation: the last one counts.
    return done[-1], [done[-1].slots, *coming]


def complaint(root: Path, last: Acknowledged, may_be: list[Slots], newest: Path) -> str | None:
    """What is wrong with a disk after a power cut; None where it is as it has to be."""
    store = Store(root / "store", clock=ManualClock(), limits=LIMITS)
    try:
        state = store.state()
        if state.slots not in may_be:
            return "neither the old nor the new state"
        for name, slot in state.slots.items():
            for ref in slot.refs:
                if hashlib.sha256(store.path(ref).read_bytes()).hexdigest() != ref.file:
                    return "a bundle is not whole"
            if slot.active is not None and resolve(f"slot:{name}", store) != store.path(slot.active):
                return "another bundle would run"
        done = install(store, str(newest), opening=open_bundle)
        if not done.new or store.state().slot("main").candidate != done.ref:
            return "the next installation did not arrive"
        kept = {f"{ref.file}.bedside" for slot in store.state().slots.values() for ref in slot.refs}
        if {p.name for p in store.bundles.iterdir()} != kept:
            return "litter among the bundles"
        if any(p.name.endswith(PARTIAL) for p in store.folder.rglob("*")):
            return "unfinished files are left"
        heads = [last.head.hash] if last.head else []
        verdict = verify(store.audit.folder, anchor=store.state().audit, heads=heads)
        if not verdict.ok:
            return f"the log does not hold: {verdict.findings[0].what}"
    except Exception as error:  # whatever it is, it is a device that does not start
        return f"{type(error).__name__}: {error}"
    return None


class Survey(msgspec.Struct):
    """States that were looked at, and what was wrong with them."""

    seen: set[bytes]
    complaints: list[str]

    def look(self, tree: Tree, last: Acknowledged, may_be: list[Slots], newest: Path, root: Path) -> None:
        """Make a state real and check it, if it is a new one."""
        # Names of unfinished files are random: that does not make another state.
        named = sorted((re.sub(r"[0-9a-f]{16}\.partial", "", name), data) for name, data in tree.items())
        key = hashlib.sha256(msgspec.msgpack.encode([named, may_be])).digest()
        if key in self.seen:
            return
        self.seen.add(key)
        root.mkdir()
        write_tree(tree, root)
        wrong = complaint(root, last, may_be, newest)
        if wrong is not None:
            self.complaints.append(wrong)
        shutil.rmtree(root)


def survey(life: Life, disk: Path, most: int, *, begin: int = 0, also: Slots | None = None) -> Survey:
    """Cut the power behind every operation, and look at up to `most` states for each.

    Args:
        life: That was led.
        disk: Where states are made.
        most: States for each operation.
        begin: Operations before the first cut.
        also: What may stand as well until the next promise.
    """
    rng = random.Random(20)
    found = Survey(set(), [])
    ops = life.files.ops
    for count in range(begin, len(ops) + 1):
        last, may_be = allowed(life.promised, count)
        if also is not None and len(may_be) > 1:
            may_be.append(also)
        for tree in crashed(life.files.base, ops[:count], most, rng):
            found.look(tree, last, may_be, life.bundles["9.0.0"], disk / "crashed")
    return found


@pytest.fixture
def lives(disk: Path, bundles: dict[str, Path]) -> Callable[..., Life]:
    """Makes a life on a new disk, or on one that is there."""
    numbers = itertools.count()

    def begin(forget: Callable[[str, Path], bool] | None = None, root: Path | None = None) -> Life:
        if root is None:
            root = disk / f"disk-{next(numbers)}"
            root.mkdir()
        return Life(root, RecordedFiles(root, forget), bundles)

    return begin


@pytest.mark.fault("U1")
def test_the_old_state_or_the_new_one(lives: Callable[..., Life], disk: Path) -> None:
    life = lives()
    life.short()
    found = survey(life, disk, 24)
    assert found.complaints == []
    assert len(found.seen) > 150


@pytest.mark.slow
@pytest.mark.fault("U1")
def test_thousands_of_states(lives: Callable[..., Life], disk: Path) -> None:
    seen: set[bytes] = set()
    for seed in range(8):
        life = lives()
        if seed == 0:
            life.whole()
        else:
            life.random(random.Random(seed), 16)
        found = survey(life, disk, 48)
        assert found.complaints == []
        seen |= found.seen
    assert len(seen) >= 5000


def forgetful() -> Iterator[tuple[str, str, Callable[[Path], bool]]]:
    """Every sync of the store that has to be there: kind, what it is of."""
    yield "sync", "bundle", lambda path: path.name.startswith(".arriving")
    yield "sync", "state", lambda path: path.name.startswith(".state.json")
    yield "sync", "log", lambda path: path.suffix == ".jsonl"
    yield "sync-folder", "bundles", lambda path: path.name == "bundles"
    yield "sync-folder", "store", lambda path: path.name == "store"
    yield "sync-folder", "audit", lambda path: path.name == "audit"
    yield "sync-folder", "parent", lambda path: path.name.startswith("disk-")


@pytest.mark.fault("U1")
@pytest.mark.parametrize(("kind", "of"), [(kind, of) for kind, of, _ in forgetful()])
def test_a_forgotten_sync_is_found(lives: Callable[..., Life], disk: Path, kind: str, of: str) -> None:
    matches = next(match for k, o, match in forgetful() if (k, o) == (kind, of))
    life = lives(lambda k, path: k == kind and matches(path))
    life.short()
    assert life.files.forgotten
    rng = random.Random(20)
    found = Survey(set(), [])
    ops = life.files.ops
    # From the end: what was promised long ago, and is not on the disk, shows there at once.
    for count in range(len(ops), 0, -1):
        last, may_be = allowed(life.promised, count)
        for tree in crashed(life.files.base, ops[:count], 12, rng):
            found.look(tree, last, may_be, life.bundles["9.0.0"], disk / "crashed")
        if found.complaints:
            return
    pytest.fail("nothing went wrong")


@pytest.mark.fault("U1")
@pytest.mark.fault("P1")
@pytest.mark.parametrize("what", ["install", "activate"])
def test_killed_then_used_then_a_power_cut(lives: Callable[..., Life], disk: Path, what: str) -> None:
    """What a killed process left unsynced is not on the disk yet when the next one goes on."""
    seen: set[bytes] = set()
    for kill_after in itertools.count():
        life = lives()
        life.do(life.install("1.0.0"), life.activate(), life.passed())
        life.do(life.install("1.1.0"), life.activate(), life.passed(), life.install("1.2.0"))
        life.files.kill_at = len(life.files.ops) + kill_after
        try:
            # Activating lets go of a bundle, which must not vanish before that is on the disk.
            (life.activate() if what == "activate" else life.install("1.3.0"))()
        except Killed:
            life.files.kill_at = None
        else:
            break
        # Another process: nothing is remembered but what it sees of the disk.
        life.store = Store(life.store.folder, clock=ManualClock(), files=life.files, limits=LIMITS)
        found_there = life.store.state().slots
        again = len(life.files.ops)
        life.do(life.install("1.3.0"))
        found = survey(life, disk, 12, begin=again, also=found_there)
        assert found.complaints == []
        seen |= found.seen
    assert kill_after > 5
    assert len(seen) > 50


@pytest.mark.slow
@pytest.mark.fault("U1")
def test_a_power_cut_while_recovering(lives: Callable[..., Life], disk: Path) -> None:
    rng = random.Random(8)
    life = lives()
    life.short()
    ops = life.files.ops
    seen: set[bytes] = set()
    for number in range(40):
        count = rng.randrange(10, len(ops))
        last, may_be = allowed(life.promised, count)
        tree = rng.choice(list(crashed(life.files.base, ops[:count], 12, rng)))
        root = disk / f"first-{number}"
        root.mkdir()
        write_tree(tree, root)
        after = lives(root=root)
        assert after.promised[0].slots in may_be
        after.promised = [Acknowledged(0, after.promised[0].slots, last.head)]
        after.do(after.install("1.3.0"))
        found = survey(after, disk, 24)
        assert found.complaints == []
        seen |= found.seen
        shutil.rmtree(root)
    assert len(seen) > 500
