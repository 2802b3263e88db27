"""What goes into `results.jsonl`, and reading it back, also after a power cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bedside.runtime.answers import Generation, Translation
from bedside.runtime.errors import SourceError
from bedside.runtime.result import SCHEMA, Result

#: No result comes near this; a longer line is not one, and is not read into memory.
MAX_LINE_BYTES = 1 << 22


def without_picture(result: Result) -> Result:
    """A result as it is written: a picture that a model made is left out, maps stay.

    A picture of 512x512 in every line would be 1 MB a frame, and a patient's picture in a file of numbers.
    """
    answer = result.result
    if isinstance(answer, (Translation, Generation)) and answer.picture is not None:
        return replace(result, result=replace(answer, picture=None))
    return result


class _Header(msgspec.Struct):
    """What tells whether the rest can be understood."""

    schema: int


def read_results(path: str | Path) -> Iterator[Result]:
    """The results of a file, in the order they were written.

    A record that a power cut tore off at the end is left out: a last line that ends before its newline, or
    that has NUL bytes, which is how a file system shows blocks that never reached the disk. Every other line
    has to be a whole record.

    Args:
        path: Written by the sink `jsonl`.

    Yields:
        One result per line.

    Raises:
        SourceError: The file cannot be read, or a line is damaged, or was written by a later version; the
            number of the line is named. Results in front of it have been yielded.
    """
    decoder = msgspec.json.Decoder(Result)
    try:
        with Path(path).open("rb") as file:
            number = 0
            line = file.readline(MAX_LINE_BYTES)
            while line:
                number += 1
                following = file.readline(MAX_LINE_BYTES)
                if not line.endswith(b"\n") and following:
                    raise SourceError(f"longer than {MAX_LINE_BYTES} bytes", where=f"{path}, line {number}")
                try:
                    result = _decode(decoder, line)
                except _NotWholeError as error:
                    if not following and (b"\0" in line or not line.endswith(b"\n")):
                        return
                    raise SourceError(
                        f"damaged record: {error}",
                        where=f"{path}, line {number}",
                        hint="only the last record of a results file can be torn by a power cut",
                    ) from None
                except ValueError as error:
                    raise SourceError(str(error), where=f"{path}, line {number}") from None
                yield result
                line = following
    except OSError as error:
        raise SourceError(f"cannot read: {error.strerror or error}", where=str(path)) from None


class _NotWholeError(ValueError):
    """The line is not JSON: torn, if it is the last one."""


def _decode(decoder: msgspec.json.Decoder[Result], line: bytes) -> Result:
    """One record.

    Raises:
        _NotWholeError: It is not JSON.
        ValueError: It is JSON, but not a result that this version reads.
    """
    try:
        if b"\0" in line:
            raise _NotWholeError("NUL bytes")
        schema = msgspec.json.decode(line, type=_Header).schema
        if schema != SCHEMA:
            raise ValueError(f"a record of schema {schema}; this version reads {SCHEMA}")
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a result: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _NotWholeError(str(error)) from None
    except RecursionError:
        raise ValueError("not a result: nested too deeply") from None
