"""pydicom and GDCM at arm's length: imported late, their warnings kept as notes, their errors mapped."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bedside.runtime.errors import BedsideError, FrameError, SourceError

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

MAX_NOTES = 8

# `warnings.catch_warnings` swaps process-wide state, so two threads inside it would leave each other's
# filters behind. GDCM's wrapper holds the interpreter lock anyway: nothing is lost by taking turns.
_TURN = threading.RLock()

# One plugin is named, since pydicom would otherwise move on to the next one when a frame fails and the stream
# would change decoders in mid-way without a word.
_PLUGINS = ("gdcm", "pydicom", "pyjpegls", "pylibjpeg", "pillow")

_INSTALL = {
    "1.2.840.10008.1.2.4.201": "pip install pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pip install pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pip install pylibjpeg pylibjpeg-openjpeg",
}
_VIDEO = "1.2.840.10008.1.2.4.10"  # .100 to .108: MPEG-2, H.264, HEVC


def one_line(error: BaseException, limit: int = 160) -> str:
    """A vendor's message as one short line, with the type where the message alone says nothing."""
    text = " ".join(str(error).split())
    if len(text) < 8 or isinstance(error, (KeyError, IndexError)):
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= limit else text[: limit - 3] + "..."


@contextmanager
def vendor(what: str, where: str, notes: list[str], *, frame: bool = False) -> Iterator[None]:
    """Run vendor code: warnings become `notes`, anything raised becomes one of our errors.

    Args:
        what: What was tried, for the message: "cannot read the header".
        where: The file.
        notes: Receives what the vendor warned of, without repeats, at most `MAX_NOTES`.
        frame: Whether a failure costs one frame only.

    Raises:
        SourceError: What the vendor raised; `FrameError` with `frame`.
    """
    with _TURN, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except BedsideError:
            raise
        except Exception as error:  # whatever the broken bytes lead pydicom to, RecursionError included
            kind = FrameError if frame else SourceError
            raise kind(f"{what}: {one_line(error)}", where=where) from error
        finally:
            for warning in caught:
                note = one_line(Warning(warning.message), 200)
                if note not in notes and len(notes) < MAX_NOTES:
                    notes.append(note)


@functools.cache
def silence_gdcm() -> None:
    """Keep GDCM from writing to the terminal; what fails is raised as an error anyway."""
    try:
        import gdcm
    except ImportError:
        return
    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()


def find_decoder(syntax: UID, bits_stored: int, where: str) -> tuple[Decoder, str]:
    """Find what decodes a transfer syntax on this host.

    Args:
        syntax: Transfer syntax of the object.
        bits_stored: Bits per sample: GDCM decodes JPEG Extended at 8 bits only.
        where: The file.

    Returns:
        pydicom's decoder, and the plugin to name to it ("" for uncompressed pixels).

    Raises:
        SourceError: Nothing here decodes it; says what to install.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    silence_gdcm()
    missing = f"cannot decode transfer syntax {syntax.name} ({syntax}) on this host"
    if str(syntax).startswith(_VIDEO):
        raise SourceError(
            missing, where=where, hint="export the video stream inside it as .mp4 and use that as the source"
        )
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise SourceError(
            missing, where=where, hint="store it uncompressed, as JPEG, JPEG 2000 or RLE"
        ) from None
    if not syntax.is_encapsulated:
        return decoder, ""
    plugins = [name for name in _PLUGINS if name in decoder.available_plugins]
    if syntax == JPEGExtended12Bit and bits_stored > 8:
        plugins = [name for name in plugins if name == "pylibjpeg"]
        if not plugins:
            raise SourceError(
                f"{missing} at {bits_stored} bits",
                where=where,
                hint="transcode it to JPEG Lossless or JPEG 2000",
            )
    if not plugins:
        raise SourceError(missing, where=where, hint=_INSTALL.get(str(syntax), "pip install python-gdcm"))
    return decoder, plugins[0]


def decodable() -> dict[str, str]:
    """Transfer syntaxes this host decodes: name to plugin (`native` for uncompressed ones)."""
    from pydicom.uid import AllTransferSyntaxes

    found: dict[str, str] = {}
    for syntax in AllTransferSyntaxes:
        try:
            _, plugin = find_decoder(syntax, 8, "")
        except SourceError:
            continue
        found[syntax.name] = plugin or "native"
    return found
