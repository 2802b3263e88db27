"""Results as lines of JSON that survive a power cut."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import msgspec

from bedside.devices.sinks.failure import sink_error
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.result import Result
from bedside.runtime.results_file import without_picture

#: At most this much of a run is lost at a power cut.
SYNC_EVERY_NS = 1_000_000_000


class JsonlSink:
    """One result per line, in the order they come; read back by `bedside.runtime.results_file.read_results`.

    A result is acknowledged when its `write` returns: the operating system has it then, and it survives the
    death of this process. It survives a power cut once the disk has it, which is asked for at least every
    second that brings results, and at the end.

    The file grows by whole lines only. Where a part of one was written (the disk is full), it is taken back,
    at once or before the next line, so that a file whose disk was full for a while can be read from end to
    end.

    Args:
        path: An existing file is replaced when the sink is opened; missing folders are made.
        clock: For the interval between syncs.
    """

    durable = True
    needs_frame = False

    def __init__(self, path: str | Path, *, clock: Clock) -> None:
        self.name = f"jsonl:{path}"
        self._path = Path(path).expanduser()
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._file: int | None = None
        self._whole = 0
        self._torn = False
        self._dirty = False
        self._regular = True
        self._synced_ns = 0

    def open(self, info: SourceInfo) -> None:
        """Create the file, and its folder.

        Raises:
            SinkError: It cannot be created.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Not blocking while it opens: a named pipe that nobody reads is an error, not a wait for ever.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
            self._file = os.open(self._path, flags, 0o666)
            os.set_blocking(self._file, True)
            self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        except OSError as error:
            raise sink_error(self.name, "cannot create the file", error) from None
        self._whole, self._torn, self._dirty = 0, False, False
        self._synced_ns = self._clock.now_ns()
        self._sync_folder()

    def write(self, result: Result, frame: Frame | None) -> None:
        """Append one line; a picture that a model made stays out of it.

        Raises:
            SinkError: The line is not in the file; or, at a sync, the disk failed to store earlier ones.
        """
        if self._file is None:
            raise SinkError("not open", where=self.name)
        self._encoder.encode_into(without_picture(result), self._buffer)
        self._buffer += b"\n"
        try:
            self._mend()
            self._append(self._file)
        except OSError as error:
            raise sink_error(self.name, f"cannot write the result of frame {result.seq}", error) from None
        self._dirty = True
        if self._clock.now_ns() - self._synced_ns >= SYNC_EVERY_NS:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has every line that was written. For a caller whose stream pauses.

        Raises:
            SinkError: The disk failed to store lines that were acknowledged before.
        """
        if self._file is None or not self._dirty:
            return
        # Before the wait, so that a slow disk is asked once a second and not all the time.
        self._synced_ns = self._clock.now_ns()
        try:
            if self._regular:  # behind a pipe, a terminal or a device there is no disk to wait for
                os.fsync(self._file)
        except OSError as error:
            raise sink_error(self.name, "the disk did not store the last results", error) from None
        self._dirty = False

    def close(self) -> None:
        """Sync and close.

        Raises:
            SinkError: As `sync`, or the file ends in part of a line that could not be taken back.
        """
        file = self._file
        if file is None:
            return
        try:
            try:
                self._mend()
            except OSError as error:
                raise sink_error(self.name, "the file ends in part of a line", error) from None
            self.sync()
        finally:
            self._file = None
            os.close(file)

    def _append(self, file: int) -> None:
        """One `write` of the whole line; what it leaves is tried once more, which tells why."""
        done = 0
        view = memoryview(self._buffer)
        try:
            while done < len(view):
                done += os.write(file, view[done:])
        except OSError:
            self._torn = done > 0
            with contextlib.suppress(OSError):  # stays torn, and is tried again before the next line
                self._mend()
            raise
        finally:
            view.release()  # the buffer cannot be resized while it is exported
        self._whole += done

    def _mend(self) -> None:
        """Take back a line that was written in part."""
        if self._torn and self._file is not None:
            os.ftruncate(self._file, self._whole)
            self._torn = False

    def _sync_folder(self) -> None:
        """Make the name of the file survive a power cut; not every system can."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        except OSError:
            return
        try:
            os.fsync(folder)
        except OSError:
            return
        finally:
            os.close(folder)
