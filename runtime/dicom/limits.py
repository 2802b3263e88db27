"""What a DICOM object may cost before it is refused."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from bedside.runtime.errors import SourceError

MAX_HEADER_BYTES = 8 << 20
MAX_HEADER_READS = 250_000
MAX_ITEMS = 20_000
MAX_INFLATED_BYTES = 512 << 20
MAX_FRAME_BYTES = 256 << 20
MAX_ENCODED_BYTES = 2 * MAX_FRAME_BYTES
MAX_FRAMES = 1_000_000


class Budget:
    """A stream that never hands out more than there is, nor more than a header may take."""

    def __init__(self, stream: BinaryIO, size: int, where: str) -> None:
        self._stream, self._size, self._where = stream, size, where
        self._bytes, self._reads = MAX_HEADER_BYTES, MAX_HEADER_READS

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes; the rest where negative."""
        left = max(0, self._size - self._stream.tell())
        count = left if count < 0 else min(count, left)
        self._bytes -= count
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0:
            raise SourceError(
                f"the DICOM header takes more than {MAX_HEADER_BYTES >> 20} MiB or {MAX_HEADER_READS} reads",
                where=self._where,
                hint="the file is damaged or hostile",
            )
        return self._stream.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As `io.IOBase.seek`."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As `io.IOBase.tell`."""
        return self._stream.tell()


def inflate(stream: BinaryIO, where: str) -> bytes:
    """The data set of a deflated object (PS3.5 section A.5), unless it would be absurdly large."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(stream.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise SourceError(
            f"the deflated data set is larger than {MAX_INFLATED_BYTES >> 20} MiB",
            where=where,
            hint="store it with JPEG 2000 or RLE instead",
        )
    return content
