"""What people do to a slot: install, activate, roll back. Each of them alone, and each refusal in the log.

A bundle arrives as a file that nobody trusts. It is copied first, and the copy is what is checked, kept and later
run: swapping the source meanwhile changes nothing (fault B10).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from bedside.devices.starters import resolve
from bedside.devices.store import transitions
from bedside.devices.store.fetching import download, without_secrets
from bedside.devices.store.files import partial, writing
from bedside.devices.store.records import Refusal
from bedside.devices.store.state import Ref, Slot
from bedside.devices.store.store import DEFAULT_SLOT, Step, Store, slot_name
from bedside.runtime.bundle.container import LIMITS
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.errors import BundleError, EngineError, TrustError, UsageError

#: Opens a bundle that may be used on this device, as `open_bundle` does, or raises `TrustError` before more than
#: directory, `bundle.json` and `signatures.json` was read.
Opening = Callable[[Path], AbstractContextManager[Bundle]]
#: Replays the goldens of what would run here; raises `EngineError` or `BundleError`.
Replay = Callable[[Bundle], None]
#: Fetches a URL, with a function that takes its bytes, and their greatest number.
Fetch = Callable[[str, Callable[[bytes], None], int], None]

#: Members, with what a container adds to them.
MOST_BYTES = LIMITS.total + (1 << 20)
_CHUNK = 1 << 20


class Installed(msgspec.Struct, frozen=True):
    """What came of an installation.

    Attributes:
        ref: The bundle.
        new: False where the slot had it, and nothing was done.
        slot: As it is now.
    """

    ref: Ref
    new: bool
    slot: Slot


def install(
    store: Store,
    source: str,
    slot: str = DEFAULT_SLOT,
    *,
    opening: Opening,
    sha256: str | None = None,
    allow_older: bool = False,
    fetch: Fetch | None = None,
) -> Installed:
    """Make a bundle the candidate of a slot. It does not run before it is activated.

    Args:
        store: To install into.
        source: Path, name of a starter bundle, or `https://` address.
        slot: Its name.
        opening: Opens it, unless its signatures say otherwise.
        sha256: Of the file, or the digest of the bundle, where somebody wrote it down; hex.
        allow_older: Take a version that is older than the active one.
        fetch: None for `fetching.download`.

    Raises:
        UsageError: Somebody else is at work; or what was given is none.
        BundleError: The bundle is refused: damaged, not signed as it has to be, another one, or older (B7).
        SourceError: It cannot be fetched.
        SinkError: The disk refuses; the slot is as it was.
    """
    job = _Install(store, slot_name(slot), opening, sha256, allow_older)
    with store.alone(f"installing into slot {job.name}"):
        store.tidy()
        if "://" in source:
            done = job.arrive(source, without_secrets(source), fetch or _fetch(store))
        else:
            done = job.from_path(resolve(source))
        store.tidy()
        return done


def activate(
    store: Store,
    slot: str = DEFAULT_SLOT,
    *,
    opening: Opening,
    replay: Replay,
    allow_older: bool = False,
    again: bool = False,
) -> Slot:
    """Make the candidate of a slot the active bundle, on probation.

    Args:
        store: Where it is.
        slot: Its name.
        opening: Opens it, unless its signatures, whose keys may have been revoked since, say otherwise.
        replay: Replays the goldens on this host.
        allow_older: Take a version that is older than the active one.
        again: Take one that failed its probation here.

    Returns:
        The slot as it is now.

    Raises:
        UsageError: There is no candidate, or somebody else is at work.
        BundleError: It is refused: damaged, not signed as it has to be, older (B7), or failed before.
        EngineError: Its goldens do not hold on this host (B11), or no engine here runs it.
        SinkError: The disk refuses; the slot is as it was.
    """
    name = slot_name(slot)
    with store.alone(f"activating the candidate of slot {name}"):
        store.tidy()
        before = store.state().slot(name)
        ref = transitions.candidate(before, name)
        if not again:
            with _refusing(store, name, "failed-before", ref):
                transitions.refuse_failed(before, name)
        if not allow_older:
            with _refusing(store, name, "older", ref):
                transitions.refuse_older(ref, before, name)
        _check_stored(store, name, ref, opening, replay)

        def step(slot: Slot) -> Step:
            if slot.candidate != ref:
                # A bundle that failed meanwhile does not take a candidate's place; nothing else can happen.
                raise UsageError("its candidate has changed", where=f"slot {name}", hint="try again")
            return Step("activated", transitions.activated(slot), ref)

        after = store.change(name, step)
        store.tidy()
        return after


def rollback(store: Store, slot: str = DEFAULT_SLOT, *, opening: Opening, replay: Replay) -> Slot:
    """Make the previous bundle of a slot the active one, whatever its version.

    Args:
        store: Where it is.
        slot: Its name.
        opening: Opens it, unless its signatures, whose keys may have been revoked since, say otherwise.
        replay: Replays the goldens on this host.

    Returns:
        The slot as it is now.

    Raises:
        UsageError: There is no previous one, or somebody else is at work.
        BundleError: It is refused: damaged, or not signed as it has to be.
        EngineError: Its goldens do not hold on this host.
        SinkError: The disk refuses; the slot is as it was.
    """
    name = slot_name(slot)
    with store.alone(f"rolling slot {name} back"):
        store.tidy()
        ref = transitions.previous(store.state().slot(name), name)
        _check_stored(store, name, ref, opening, replay)

        def step(slot: Slot) -> Step | None:
            if slot.previous != ref:
                # A run gave up the active one meanwhile and put this one back: done.
                return None
            return Step("rolled-back", transitions.rolled_back(slot), ref)

        after = store.change(name, step)
        store.tidy()
        return after


class _Install:
    """One installation.

    Args:
        store: To install into.
        name: Of the slot.
        opening: Opens it, unless its signatures say otherwise.
        sha256: That was written down.
        allow_older: Take an older version.
    """

    def __init__(
        self, store: Store, name: str, opening: Opening, sha256: str | None, allow_older: bool
    ) -> None:
        self.name = name
        self._store = store
        self._opening = opening
        self._sha256 = sha256
        self._allow_older = allow_older

    def from_path(self, path: Path) -> Installed:
        """From a folder or a USB stick: refused before it is copied, where it can be."""
        hasher = hashlib.sha256()
        with self._opened(path, str(path)) as bundle:
            copy(path, hasher.update)
            ref = self._accepted(bundle, hasher.hexdigest())
        return self._kept(ref) or self.arrive(str(path), str(path), _copied)

    def arrive(self, source: str, shown: str, fetch: Fetch) -> Installed:
        """Copy, check the copy, give it its name, make it the candidate."""
        store, files = self._store, self._store.files
        unfinished = partial(store.bundles / "arriving")
        hasher = hashlib.sha256()
        try:
            with writing("the store"):
                handle = files.create(unfinished)

            def write(data: bytes) -> None:
                with writing("the store"):
                    files.write(handle, data)
                hasher.update(data)

            try:
                fetch(source, write, MOST_BYTES)
                with writing("the store"):
                    files.sync(handle)
            finally:
                files.close(handle)
            with self._opened(unfinished, shown) as bundle:
                with self._refusing("damaged", bundle):
                    bundle.verify_all()
                ref = self._accepted(bundle, hasher.hexdigest())
            kept = self._kept(ref)
            if kept is not None:
                return kept
            with writing("the store"):
                files.rename(unfinished, store.path(ref))
                files.sync_folder(store.bundles)
        finally:
            if unfinished.exists():
                with suppress(OSError):
                    files.unlink(unfinished)
        return Installed(ref, True, store.change(self.name, self._step(ref)))

    def _step(self, ref: Ref) -> Callable[[Slot], Step | None]:
        def step(slot: Slot) -> Step | None:
            if ref in (slot.active, slot.candidate):  # its file was damaged and is whole again
                return None
            return Step("installed", transitions.installed(slot, ref), ref)

        return step

    def _kept(self, ref: Ref) -> Installed | None:
        """The slot, where it has the bundle, whole, as active one or candidate: nothing to do (fault U3)."""
        slot = self._store.state().slot(self.name)
        if ref not in (slot.active, slot.candidate) or not _is_whole(self._store, ref):
            return None
        return Installed(ref, False, self._store.change(self.name, lambda _: None))

    def _accepted(self, bundle: Bundle, file: str) -> Ref:
        """How the store will name it, if it is the one that was meant, and no older one."""
        manifest = bundle.manifest
        ref = Ref(
            file=file, digest=bundle.digest, name=manifest.name, version=manifest.version, bytes=bundle.size
        )
        if self._sha256 is not None and self._sha256.lower() not in (ref.file, ref.digest):
            with self._refusing("sha256", bundle):
                what = f"has the sha256 {ref.file} and the digest {ref.digest}, expected {self._sha256}"
                raise BundleError(what, where=str(bundle.path.name), hint="get the file again")
        slot = self._store.state().slot(self.name)
        if not self._allow_older and ref != slot.active:
            with self._refusing("older", bundle):
                transitions.refuse_older(ref, slot, self.name)
        return ref

    @contextmanager
    def _opened(self, path: Path, shown: str) -> Iterator[Bundle]:
        """A bundle whose signatures were judged. Errors name it as it was given."""
        try:
            with _opened(self._store, self.name, path, self._opening) as bundle:
                yield bundle
        except BundleError as error:
            where = shown if error.where in (str(path), path.name) else error.where
            raise type(error)(error.what, where=where, hint=error.hint) from None

    @contextmanager
    def _refusing(self, reason: Refusal, bundle: Bundle) -> Iterator[None]:
        with _refusing(self._store, self.name, reason, bundle):
            yield


def copy(path: Path, write: Callable[[bytes], None], most: int = MOST_BYTES) -> None:
    """Read a file piece by piece.

    Raises:
        BundleError: It cannot be read, is no regular file, or has more than `most` bytes.
    """
    total = 0
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"cannot be opened: {error.strerror or error}", where=str(path)) from None
    with os.fdopen(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BundleError("is no regular file", where=str(path))
        while True:
            try:
                data = file.read(_CHUNK)
            except OSError as error:
                what = f"cannot be read: {error.strerror or error}"
                raise BundleError(what, where=str(path), hint="copy the file again") from None
            if not data:
                return
            total += len(data)
            if total > most:
                raise BundleError(f"has more than {most} bytes", where=str(path))
            write(data)


def _copied(source: str, write: Callable[[bytes], None], most: int) -> None:
    copy(Path(source), write, most)


def _fetch(store: Store) -> Fetch:
    def fetch(url: str, write: Callable[[bytes], None], most: int) -> None:
        download(url, write, most=most, clock=store.clock)

    return fetch


def _is_whole(store: Store, ref: Ref) -> bool:
    hasher = hashlib.sha256()
    try:
        copy(store.path(ref), hasher.update, ref.bytes)
    except BundleError:
        return False
    return hasher.hexdigest() == ref.file


def _check_stored(store: Store, name: str, ref: Ref, opening: Opening, replay: Replay) -> None:
    """Signatures, every digest, goldens, in that order, of a bundle in the store."""
    with _opened(store, name, store.path(ref), opening, ref) as bundle:
        with _refusing(store, name, "damaged", ref):
            if bundle.digest != ref.digest:
                raise BundleError(
                    f"is the bundle {bundle.digest}, expected {ref.digest}", where=f"slot {name}"
                )
            bundle.verify_all()
        with _refusing(store, name, "golden", ref):
            replay(bundle)


@contextmanager
def _opened(
    store: Store, name: str, path: Path, opening: Opening, about: Ref | None = None
) -> Iterator[Bundle]:
    """A bundle that may be used here; that it may not is noted in the log."""
    with ExitStack() as opened:
        with _refusing(store, name, "damaged" if path.is_file() else None, about):
            bundle = opened.enter_context(opening(path))
        yield bundle


@contextmanager
def _refusing(
    store: Store, name: str, reason: Refusal | None, about: Bundle | Ref | None = None
) -> Iterator[None]:
    """Note refusals in the log, and pass them on."""
    try:
        yield
    except (BundleError, EngineError) as error:
        if isinstance(error, TrustError):
            reason = "signature"
        if reason is not None:
            digest = about.digest if about is not None else None
            version = (
                about.manifest.version if isinstance(about, Bundle) else about.version if about else None
            )
            store.refuse(name, reason, digest=digest, version=version)
        raise
