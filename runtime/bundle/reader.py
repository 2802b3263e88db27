"""Open a bundle: container, digest, signatures, manifest, in that order; nothing unverified is parsed."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bedside.runtime import __version__
from bedside.runtime.bundle import container, signatures
from bedside.runtime.bundle.manifest import FileRef, Manifest
from bedside.runtime.bundle.rules import decode
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.errors import BundleError

#: Called with the digest of a bundle and its signatures, before its manifest is parsed. Raises `BundleError` to
#: refuse it. The runtime judges no signature itself: which keys are trusted, only a device knows.
Judge = Callable[[str, tuple[Signature, ...]], None]


class Bundle:
    """An open bundle. Members are read on demand, and every byte that leaves was checked against its digest.

    The file stays open, and what `read` returns is what was hashed: swapping the file afterwards changes
    nothing.

    Attributes:
        path: Where it was opened, for messages.
        manifest: The checked content of `bundle.json`.
        digest: Hex sha256 of `bundle.json` as stored: the identity of the bundle.
        size: Of the file, in bytes.
        stored: `bundle.json`, byte for byte.
        signatures: Of `signatures.json`, well-formed and otherwise as they came; see `Judge`.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        limits: container.Limits = container.LIMITS,
        judge: Judge | None = None,
    ) -> None:
        self.path = path
        self._file = file
        try:
            self._container = container.Container(file, limits)
            self.stored = self._container.read(container.MANIFEST)
            self.digest = hashlib.sha256(self.stored).hexdigest()
            self.signatures: tuple[Signature, ...] = ()
            if container.SIGNATURES in self._container.entries:
                self.signatures = signatures.decode(self._container.read(container.SIGNATURES))
            if judge is not None:
                judge(self.digest, self.signatures)
            self.manifest: Manifest = decode(self.stored, __version__)
            self._files = self.manifest.files()
            self._check_members()
        except ValueError as error:
            raise self._refused(str(error)) from None
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror or error}") from None
        self.size = self._container.size

    @property
    def signed(self) -> bool:
        """Whether it carries signatures, good or bad."""
        return bool(self.signatures)

    def _refused(self, what: str) -> BundleError:
        hint = "copy the file again from the workstation, and compare its sha256 there and here"
        if what.startswith("too new"):
            hint = "update bedside on this device, or export for this version"
        return BundleError(what, where=str(self.path), hint=hint)

    def _check_members(self) -> None:
        entries = self._container.entries
        extra = sorted(set(entries) - set(self._files) - {container.MANIFEST, container.SIGNATURES})
        missing = sorted(set(self._files) - set(entries))
        if extra:
            raise ValueError(f"member {extra[0]} is not named by bundle.json")
        if missing:
            raise ValueError(f"member {missing[0]} is named by bundle.json and missing")
        for name, ref in self._files.items():
            if entries[name].size != ref.bytes:
                raise ValueError(
                    f"member {name} has {entries[name].size} bytes, bundle.json says {ref.bytes}"
                )

    def read(self, name: str) -> bytes:
        """The verified bytes of a member.

        Raises:
            BundleError: Its content is not what `bundle.json` says, or it cannot be read.
        """
        if name not in self._files:
            raise BundleError(f"bundle.json names no member {name!r}", where=str(self.path))
        try:
            data = self._container.read(name)
        except ValueError as error:
            raise self._refused(str(error)) from None
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror or error}") from None
        if hashlib.sha256(data).hexdigest() != self._files[name].sha256:
            raise self._refused(f"damaged: {name} does not match the sha256 in bundle.json")
        return data

    def array(self, ref: FileRef) -> npt.NDArray[Any]:
        """A verified `.npy` member as a read-only array. Never unpickles, never allocates beyond the
        member."""
        data = self.read(ref.file)
        try:
            return load_npy(data)
        except ValueError as error:
            raise self._refused(f"{ref.file}: {error}") from None

    def verify_all(self) -> None:
        """Check every member, needed or not.

        Raises:
            BundleError: At the first that is not what `bundle.json` says.
        """
        for name in self._files:
            self.read(name)

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(
    path: str | Path, limits: container.Limits = container.LIMITS, judge: Judge | None = None
) -> Bundle:
    """Open a bundle after checking its container and its manifest.

    Args:
        path: Of the file.
        limits: Hard limits.
        judge: Looks at the signatures, before the manifest is parsed.

    Raises:
        BundleError: One line that says why it is refused and what to do.
    """
    path = Path(path)
    hint = "give the path of a .bedside file"
    not_regular = BundleError("is no regular file", where=str(path), hint=hint)
    try:
        # A pipe would block in `open`, and opening a device may do something: look first.
        if not stat.S_ISREG(path.stat().st_mode):
            raise not_regular
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - Path.open takes no opener
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise BundleError(f"cannot be opened: {what}", where=str(path), hint=hint) from None
    try:
        # And again at the open file, which may be another one by now.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise not_regular
        return Bundle(path, file, limits, judge)
    except BaseException:
        file.close()
        raise


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


#: What `np.save` writes for plain numbers, and nothing else: numpy's own reader evaluates literals, reads
#: headers of files that Python 2 wrote, and leaks tokenizer errors and warnings on hostile ones.
_NPY_HEADER = re.compile(
    rb"\{'descr': '(\|b1|\|u1|\|i1|<[uif][248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,9}, ?)*\d{0,9})\), \} *\n"
)
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_MAX_AXES = 8


def load_npy(data: bytes) -> npt.NDArray[Any]:
    """Read `.npy` bytes: version 1.0, C order, little-endian plain numbers (numpy enhancement proposal 1).

    Returns:
        A read-only view of `data`.

    Raises:
        ValueError: It is anything else, or its header promises more or less than there is.
    """
    begin = len(_NPY_MAGIC) + 2
    if len(data) < begin or not data.startswith(_NPY_MAGIC):
        raise ValueError("not an .npy file of version 1.0")
    end = begin + int.from_bytes(data[begin - 2 : begin], "little")
    header = _NPY_HEADER.fullmatch(data, begin, end)
    if end > len(data) or header is None:
        raise ValueError("the .npy header is not one that np.save writes for plain numbers")
    if header[2] == b"True":
        raise ValueError("an .npy in Fortran order is not allowed")
    dtype = np.dtype(header[1].decode("ascii"))
    shape = tuple(int(n) for n in header[3].split(b",") if n.strip())
    size = math.prod(shape) * dtype.itemsize
    if len(shape) > _MAX_AXES or min(shape, default=1) < 1 or size != len(data) - end:
        raise ValueError(f"the .npy header says {list(shape)} {dtype}, its body has {len(data) - end} bytes")
    return np.frombuffer(data, dtype, offset=end).reshape(shape)


def dump_npy(array: npt.NDArray[Any]) -> bytes:
    """`.npy` bytes that `load_npy` reads: version 1.0, C order, little-endian.

    Raises:
        ValueError: It is empty, or not of plain numbers.
    """
    plain = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    stream = io.BytesIO()
    np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)
    data = stream.getvalue()
    load_npy(data)
    return data
