"""Write a bundle whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bedside.runtime.bundle import container, signatures
from bedside.runtime.bundle.manifest import FileRef, Manifest
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.bundle.rules import encode
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.errors import BundleError, SinkError


def file_ref(name: str, data: bytes) -> FileRef:
    """How a manifest names a member."""
    return FileRef(file=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def write_bundle(path: str | Path, manifest: Manifest, members: Mapping[str, bytes]) -> str:
    """Write the canonical container, atomically.

    Args:
        path: Where to; an existing file is replaced only by a whole one.
        manifest: Names every member by digest.
        members: Everything but `bundle.json`; `signatures.json` may be among them.

    Returns:
        The bundle's digest, hex.

    Raises:
        BundleError: The members are not the ones that the manifest names.
        SinkError: The file cannot be written; nothing is left behind.
    """
    path = Path(path)
    try:
        stored, named = encode(manifest), manifest.files()
    except ValueError as error:
        raise BundleError(str(error), where=str(path)) from None
    given = {n for n in members if n != container.SIGNATURES}
    if given != set(named):
        odd = sorted(given ^ set(named))[0]
        raise BundleError(f"member {odd} is {'not named' if odd in given else 'missing'}", where=str(path))
    for name, ref in named.items():
        if file_ref(name, members[name]) != ref:
            raise BundleError(f"member {name} is not the content that the manifest names", where=str(path))
    with replacing(path) as file:
        try:
            container.dump({container.MANIFEST: stored, **members}, file)
        except ValueError as error:
            raise BundleError(str(error), where=str(path)) from None
    return hashlib.sha256(stored).hexdigest()


def write_signed(path: str | Path, bundle: Bundle, signed: Iterable[Signature]) -> None:
    """Write an open bundle again, with these signatures in place of those that it has, atomically.

    `bundle.json` is written as it is stored, whatever this version would write: the digest stays.

    Args:
        path: Where to; may be where the bundle is.
        bundle: Open; its members are read one by one, and checked.
        signed: At least one.

    Raises:
        BundleError: A member is damaged, or there are no signatures or too many.
        SinkError: The file cannot be written; nothing is left behind.
    """
    try:
        members = _Signed(bundle, signatures.encode(signed))
    except ValueError as error:
        raise BundleError(str(error), where=str(bundle.path)) from None
    with replacing(Path(path)) as file:
        container.dump(members, file)


class _Signed(Mapping[str, bytes]):
    """The members of an open bundle with other signatures; one of them in memory at a time."""

    def __init__(self, bundle: Bundle, signed: bytes) -> None:
        self._bundle = bundle
        self._given = {container.MANIFEST: bundle.stored, container.SIGNATURES: signed}
        self._names = (*self._given, *bundle.manifest.files())

    def __getitem__(self, name: str) -> bytes:
        return self._given[name] if name in self._given else self._bundle.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` when the block ends well, synced to the disk, and vanishes when not.

    A symbolic link is followed: what it points to is replaced, and the link stays.

    Raises:
        SinkError: The folder cannot be written, or the disk is full.
    """
    temporary: Path | None = None
    given = str(path)
    try:
        # Else a redirected `/dev/stdout`, which is a link to a plain file, would itself be replaced.
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Writing would replace a device or a pipe by a plain file; no one means that.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise SinkError("is no regular file", where=given, hint="choose another output path")
        if path.exists() and not os.access(path, os.W_OK):
            raise SinkError("is read-only", where=given, hint="choose another output path, or chmod it")
        # Not `tempfile`: its files are private, and the umask cannot be read without changing it for every
        # thread.
        unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.partial")
        with unfinished.open("xb") as file:
            temporary = unfinished
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise SinkError(what, where=given, hint="check the folder's permissions and free space") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may undo the rename (fsync(2), notes). Not every system can open a folder.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
