"""From what the operating system says to what a person can do."""

from __future__ import annotations

import errno

from bedside.runtime.errors import SinkError

_HINTS = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "the size of files is limited here",
    errno.EROFS: "the file system is mounted read-only",
    errno.EIO: "the disk may be failing",
    errno.EACCES: "choose a folder that this user may write to",
    errno.EPERM: "choose a folder that this user may write to",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "name a file, not a folder",
    errno.ENXIO: "nobody reads from this pipe",
    errno.EPIPE: "nobody reads from this pipe any more",
}


def sink_error(sink: str, what: str, error: OSError) -> SinkError:
    """One line with a hint.

    Args:
        sink: Its name.
        what: What could not be done.
        error: What the operating system said.
    """
    reason = error.strerror or type(error).__name__
    return SinkError(f"{what}: {reason}", where=sink, hint=_HINTS.get(error.errno or 0, ""))
