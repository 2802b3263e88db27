"""The store: bundles by content, the state of the slots, and the log, in one folder.

    bundles/<sha256 of the file>.bedside    what slots hold on to
    state.json                              which slot holds on to what
    audit/                                  what was done
    install.lock, state.lock                who is at work

Every change is announced in the log first, and done by replacing `state.json`: before that nothing has happened,
after that everything has. A change that was announced and did not come to be is noted as interrupted with the next
one. Bundles that no slot holds on to and unfinished files are litter of an interrupted installation, and go with
the next one, or when a run begins.

Installing may take minutes and holds `install.lock`; changes hold `state.lock` for moments, so that a run that
has to give up a bundle never waits for a download.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs

from bedside.devices.store import transitions
from bedside.devices.store.audit import AuditLimits, AuditLog
from bedside.devices.store.files import PARTIAL, Files, SystemFiles, make_folders, replace_whole, writing
from bedside.devices.store.lock import alone, locked
from bedside.devices.store.records import CHANGES, Event, Facts, Failing, Refusal
from bedside.devices.store.state import MAX_SLOTS, Anchor, Ref, Slot, State, encode, read_state
from bedside.runtime.bundle.fields import Name
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.errors import BundleError, SinkError, UsageError

DEFAULT_SLOT = "main"
_STATE, _BUNDLES, _AUDIT = "state.json", "bundles", "audit"


class Step(msgspec.Struct, frozen=True):
    """A change of a slot.

    Attributes:
        event: For the log.
        slot: As it will be.
        about: The bundle that the event is about.
        reason: Of a failure.
    """

    event: Event
    slot: Slot
    about: Ref | None = None
    reason: Failing | None = None


class Start(msgspec.Struct, frozen=True):
    """What a slot runs now.

    Attributes:
        ref: The bundle.
        path: Of its file.
        probation: Which start on probation this is, from 1; None where the bundle has come through it.
        note: Anything that a person should know, in one line.
    """

    ref: Ref
    path: Path
    probation: int | None = None
    note: str | None = None


def default_folder() -> Path:
    """Where the store lies: `store` in the user's data folder for bedside."""
    return platformdirs.user_data_path("bedside") / "store"


def slot_name(text: str) -> str:
    """A slot's name, checked.

    Raises:
        UsageError: It is none.
    """
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        hint = "small letters, digits, dot, dash and underscore, at most 64"
        raise UsageError(f"{text!r} is no name of a slot", hint=hint) from None


class Store:
    """What is on the disk, and how it changes. Any process may use it.

    Args:
        folder: None for `default_folder`. Made with the first change.
        clock: For the log and for who is at work; nothing depends on it.
        files: How the disk is changed.
        limits: Of the log.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        limits: AuditLimits | None = None,
    ) -> None:
        self.folder = default_folder() if folder is None else folder
        self.bundles = self.folder / _BUNDLES
        self.clock = clock or MonotonicClock()
        self.files = files or SystemFiles()
        self.audit = AuditLog(self.folder / _AUDIT, clock=self.clock, files=self.files, limits=limits)

    def state(self) -> State:
        """All slots. Needs no lock: the file is replaced as a whole.

        Raises:
            BundleError: It cannot be read, is damaged, or is of a newer bedside.
        """
        return read_state(self.folder / _STATE)

    def path(self, ref: Ref) -> Path:
        """Where a bundle of the store lies."""
        return self.bundles / f"{ref.file}.bedside"

    def start(self, name: str) -> Start:
        """What a run of a slot begins with; on probation the start is counted, and one too many is a failure.

        Called once for every process that loads the bundle, before it loads. Litter of an interrupted installation
        goes. Where the disk does not let the start be counted, the previous bundle runs: a crash loop could not be
        told.

        Raises:
            BundleError: Nothing is active in the slot; or the state is damaged.
        """
        slot = self.state().slot(slot_name(name))
        self._tidy_if_free()
        if slot.probation is None:
            return self._start(slot, name)
        try:
            after = self.change(name, _next_start)
        except SinkError as error:
            note = f"its start on probation cannot be counted: {error}"
            return self._start(transitions.failed(slot, "starts") if slot.previous else slot, name, note)
        given_up = after.probation is None and after.active != slot.active
        note = f"the bundle on probation was started {slot.probation} times without coming through"
        return self._start(after, name, note if given_up else None)

    def probation_passed(self, name: str, *, digest: str | None = None) -> bool:
        """Confirm the active bundle of a slot: from now on it is what a failure of a later one puts back.

        Args:
            name: Of the slot.
            digest: Of the bundle that ran; another one that is active by now is not confirmed.

        Returns:
            False where there was nothing to confirm.

        Raises:
            SinkError: It cannot be written; the bundle stays on probation.
        """
        confirmed = False

        def step(slot: Slot) -> Step | None:
            nonlocal confirmed
            confirmed = slot.probation is not None and _runs(slot, digest)
            return Step("probation-passed", transitions.passed(slot), slot.active) if confirmed else None

        self.change(name, step)
        return confirmed

    def probation_failed(self, name: str, why: Failing, *, digest: str | None = None) -> Start | None:
        """Give up the active bundle of a slot that is on probation, and put the previous one back (fault U2).

        Never fails for the disk's sake: where the change cannot be written, what is returned runs all the same, and
        its note says so.

        Args:
            name: Of the slot.
            why: It failed.
            digest: Of the bundle that ran; another one that is active by now stays.

        Returns:
            What runs now; None where there is nothing to go back to.
        """

        def applies(slot: Slot) -> bool:
            return slot.probation is not None and _runs(slot, digest)

        return self._give_up(name, "probation-failed", why, applies)

    def put_back(self, name: str, why: Failing, *, digest: str | None = None) -> Start | None:
        """As `probation_failed`, also for a bundle that had come through it: a crash loop (fault E5)."""

        def applies(slot: Slot) -> bool:
            # Without a previous one, a bundle that has come through is better than none.
            return _runs(slot, digest) and (slot.previous is not None or slot.probation is not None)

        return self._give_up(name, "rolled-back", why, applies)

    @contextmanager
    def alone(self, doing: str) -> Iterator[None]:
        """Hold the right to install, activate and roll back, or say who does (faults U4, P2).

        Args:
            doing: What for, in words.

        Raises:
            UsageError: Somebody else holds it.
            SinkError: The folder cannot be written.
        """
        self._make_folders()
        with alone(self.folder / "install.lock", doing, self.clock):
            yield

    def change(self, name: str, decide: Callable[[Slot], Step | None]) -> Slot:
        """Change a slot: announced in the log, then done. On the disk when it returns.

        Args:
            name: Of the slot.
            decide: Gives the change, of the slot as it is; None for none. What it raises ends the change.

        Returns:
            The slot as it is now.

        Raises:
            SinkError: It cannot be written; nothing has changed, or, where only the last sync failed, what has may
                not survive a power cut.
            BundleError: The state is damaged.
        """
        name = slot_name(name)
        self._make_folders()
        with locked(self.folder / "state.lock"), writing("the store"):
            state = self.state()
            step = decide(state.slot(name))
            if step is None:
                # What is read here may be of a process that was killed before it was on the disk.
                self.files.sync_folder(self.folder)
                return state.slot(name)
            if len({*state.slots, name}) > MAX_SLOTS:
                raise UsageError(f"{MAX_SLOTS} slots are the most", where=f"slot {name}")
            self._note_interrupted(state)
            active, about = step.slot.active, step.about
            record = self.audit.append(
                step.event,
                Facts(
                    slot=name,
                    digest=about.digest if about else None,
                    version=about.version if about else None,
                    file=about.file if about else None,
                    active=active.digest if active else None,
                    active_version=active.version if active else None,
                    reason=step.reason,
                    starts=step.slot.probation,
                ),
            )
            after = state.with_slot(name, step.slot, Anchor(seq=record.seq, hash=record.hash))
            replace_whole(self.files, self.folder / _STATE, encode(after))
            return step.slot

    def refuse(
        self, name: str, reason: Refusal, *, digest: str | None = None, version: str | None = None
    ) -> None:
        """Note in the log that a bundle was refused. A log that cannot be written changes nothing about that."""
        with suppress(SinkError):
            self.audit.append("refused", Facts(slot=name, reason=reason, digest=digest, version=version))

    def tidy(self) -> None:
        """Take away what no slot holds on to. Only for who holds the right to install.

        Raises:
            BundleError: The state is damaged: then nothing is taken away.
            SinkError: The folder cannot be written.
        """
        with locked(self.folder / "state.lock"), writing("the store"):
            litter = self._litter()
            if litter:
                # A state that let go of a bundle, and whose process was killed, may not be on the disk yet.
                self.files.sync_folder(self.folder)
            for path in litter:
                with suppress(OSError):
                    self.files.unlink(path)

    def _litter(self) -> list[Path]:
        """Bundles that no slot holds on to, and unfinished files: litter, unless somebody is at work."""
        kept = {f"{ref.file}.bedside" for slot in self.state().slots.values() for ref in slot.refs}
        try:
            litter = [p for p in self.folder.iterdir() if p.name.endswith(PARTIAL)]
            return litter + [p for p in self.bundles.iterdir() if p.name not in kept]
        except OSError:
            return []

    def _tidy_if_free(self) -> None:
        """Tidy up where there is litter and nobody is at work; a disk that refuses keeps it."""
        if self._litter():
            with suppress(UsageError, SinkError), self.alone("tidying up"):
                self.tidy()

    def _make_folders(self) -> None:
        with writing("the store"):
            make_folders(self.files, self.folder)
            make_folders(self.files, self.bundles)

    def _start(self, slot: Slot, name: str, note: str | None = None) -> Start:
        if slot.active is None:
            failed = f": the last one failed its probation ({slot.failed.why})" if slot.failed else ""
            hint = f"bedside install BUNDLE --slot {name}, then bedside activate --slot {name}"
            raise BundleError(f"has no active bundle{failed}", where=f"slot {name}", hint=hint)
        return Start(slot.active, self.path(slot.active), slot.probation, note)

    def _give_up(
        self, name: str, event: Event, why: Failing, applies: Callable[[Slot], bool]
    ) -> Start | None:
        def step(slot: Slot) -> Step | None:
            return Step(event, transitions.failed(slot, why), slot.active, why) if applies(slot) else None

        note = None
        try:
            slot = self.change(name, step)
        except SinkError as error:
            note = f"what was put back is not on the disk: {error}"
            slot = self.state().slot(name)
            if applies(slot):
                slot = transitions.failed(slot, why)
        return self._start(slot, name, note) if slot.active is not None else None

    def _note_interrupted(self, state: State) -> None:
        """Note a change that was announced and is not in the state: its process was killed, or the power cut."""
        announced = None
        for record in self.audit.records(after=state.audit.seq if state.audit else 0):
            if record.event in CHANGES:
                announced = record
            elif announced and record.event == "interrupted" and record.facts.seq == announced.seq:
                announced = None
        if announced is not None:
            facts = announced.facts
            again = Facts(slot=facts.slot, digest=facts.digest, version=facts.version, seq=announced.seq)
            self.audit.append("interrupted", again)


def _next_start(slot: Slot) -> Step | None:
    if slot.probation is None:
        return None
    if slot.probation >= transitions.MOST_STARTS:
        return Step("probation-failed", transitions.failed(slot, "starts"), slot.active, "starts")
    return Step("started", transitions.started(slot), slot.active)


def _runs(slot: Slot, digest: str | None) -> bool:
    return slot.active is not None and digest in (None, slot.active.digest)
