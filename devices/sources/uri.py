"""Source URIs: a path, `camera:0`, `rtsp://host/stream`, `synthetic:ultrasound?fps=60`, `sample:echo-cine`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from bedside.devices.sources.camera import CameraSource
from bedside.devices.sources.dicom import DicomSource
from bedside.devices.sources.images import ImageSource
from bedside.devices.sources.network import NETWORK_SCHEMES, NetworkSource
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.sample import SAMPLES, echo_cine_path
from bedside.devices.sources.video import VideoSource
from bedside.runtime.clock import Clock
from bedside.runtime.dicom import is_dicom
from bedside.runtime.errors import SourceError, UsageError
from bedside.runtime.images import is_image, list_images
from bedside.runtime.protocols import Source

SCHEMES = ("camera", "sample", "synthetic")

_ALLOWED = (
    "a path, camera:N, camera:/dev/videoN, rtsp://, http(s):// or udp:// with #transport=tcp&read_timeout=2, "
    "sample:echo-cine, synthetic:NAME?fps=..&size=WxH&frames=N"
)
_MOST_SECONDS = 60.0  # as `CaptureOptions` allows
# Two letters at least: `C:\clips` is a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_URL = re.compile(r"([A-Za-z]+)://([^#\s]+)(?:#(.*))?", re.DOTALL)


class SourceUri(msgspec.Struct, frozen=True):
    """A source URI, taken apart.

    Attributes:
        scheme: One of `SCHEMES` or `NETWORK_SCHEMES`, or `path`.
        target: What stands between the scheme and the question mark; of a stream its whole URL, without a
            fragment.
        options: Keys and values behind the question mark. What a URL has there is its server's business: ours
            are its fragment, which is never sent (RFC 3986, section 3.5).
    """

    scheme: str
    target: str
    options: dict[str, str] = {}


def parse_uri(text: str) -> SourceUri:
    """Take a source URI apart. Something that exists under the very name is a path, whatever it looks like.

    Raises:
        UsageError: Empty, an unknown scheme, or a malformed query; names what is allowed.
    """
    if not text.strip():
        raise UsageError("empty source", hint=f"give {_ALLOWED}")
    if _exists(text):
        return SourceUri("path", text)
    url = _URL.fullmatch(text)
    if url is not None and url[1].lower() in NETWORK_SCHEMES:
        return SourceUri(
            url[1].lower(), f"{url[1].lower()}://{url[2]}", parse_query(url[3], text) if url[3] else {}
        )
    body, mark, query = text.rpartition("?")
    if not mark:
        body, query = text, ""
    options = parse_query(query, text) if mark else {}
    match = _SCHEME.fullmatch(body)
    if match is None or "/" in match[1] or _exists(body):
        return SourceUri("path", body, options)
    scheme = match[1].lower()
    if scheme not in SCHEMES:
        raise UsageError(f"unknown source scheme {scheme!r}", where=text, hint=f"allowed: {_ALLOWED}")
    return SourceUri(scheme, match[2], options)


def parse_query(query: str, where: str) -> dict[str, str]:
    """Keys and values of a query, percent-decoded.

    Raises:
        UsageError: A part without `=`, an empty key or value, or a key given twice.
    """
    options: dict[str, str] = {}
    for part in query.split("&"):
        key, equals, value = (unquote(piece) for piece in part.partition("="))
        if not equals or not key or not value:
            raise UsageError(f"malformed option {part!r}", where=where, hint="write ?key=value&key=value")
        if key in options:
            raise UsageError(f"option {key!r} is given twice", where=where)
        options[key] = value
    return options


def read_options(
    options: Mapping[str, str], allowed: Mapping[str, Callable[[str], Any]], where: str
) -> dict[str, Any]:
    """Convert the options of a URI.

    Args:
        options: As parsed.
        allowed: For each allowed key, what converts its value, raising ValueError with what it expected.
        where: The URI.

    Raises:
        UsageError: An unknown key, with the allowed ones, or a value that does not convert.
    """
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in allowed:
            names = ", ".join(sorted(allowed)) or "none"
            raise UsageError(f"unknown option {key!r}", where=where, hint=f"allowed here: {names}")
        try:
            values[key] = allowed[key](text)
        except ValueError as error:
            raise UsageError(f"option {key}={text!r}: {error}", where=where) from error
    return values


def positive_number(text: str) -> float:
    """A finite number above 0.

    Raises:
        ValueError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError("expected a number above 0")
    return value


def positive_integer(text: str) -> int:
    """A whole number above 0.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("expected a whole number above 0")
    return int(text)


def frame_size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` in pixels.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError("expected WIDTHxHEIGHT, for example 1920x1080")
    return int(match[1]), int(match[2])


def _fourcc(text: str) -> str:
    if not re.fullmatch(r"[!-~]{4}", text):
        raise ValueError("expected four characters, for example MJPG")
    return text


def _transport(text: str) -> str:
    if text not in ("tcp", "udp"):
        raise ValueError("expected tcp or udp")
    return text


def _seconds(text: str) -> float:
    value = positive_number(text)
    if value > _MOST_SECONDS:
        raise ValueError(f"expected at most {_MOST_SECONDS:g} seconds")
    return value


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return text == "true"


def open_source(uri: str, *, clock: Clock | None = None, capture: CaptureOptions | None = None) -> Source:
    """Choose the source that a URI names; it is opened by its own `open`.

    Args:
        uri: A path (the file's content decides what it is), or a scheme of `SCHEMES`.
        clock: For the stamps; the host's by default.
        capture: For cameras and streams; options in the URI go before it.

    Raises:
        UsageError: The URI is malformed, or has an unknown scheme or option.
        SourceError: The path does not exist, or holds nothing that can be a source.
    """
    parsed = parse_uri(uri)
    capture = capture or CaptureOptions()
    if parsed.scheme == "camera":
        return _camera(parsed, uri, clock, capture)
    if parsed.scheme in NETWORK_SCHEMES:
        return _stream(parsed, clock, capture)
    if parsed.scheme == "synthetic":
        from bedside.devices.sources.synthetic import SyntheticSource

        return SyntheticSource.from_uri(uri, clock=clock)
    fps = read_options(parsed.options, {"fps": positive_number}, uri).get("fps")
    if parsed.scheme == "sample":
        if parsed.target not in SAMPLES:
            raise UsageError(
                f"unknown sample {parsed.target!r}", where=uri, hint=f"allowed: {', '.join(SAMPLES)}"
            )
        return DicomSource(echo_cine_path(), fps=fps, clock=clock)
    return _recording(Path(parsed.target), fps, clock, capture.adopt_size)


def _camera(parsed: SourceUri, uri: str, clock: Clock | None, capture: CaptureOptions) -> Source:
    given = read_options(
        parsed.options,
        {"fps": positive_number, "size": frame_size, "fourcc": _fourcc, "buffers": positive_integer},
        uri,
    )
    if "size" in given:
        given["width"], given["height"] = given.pop("size")
    options = msgspec.structs.replace(capture, **given)
    target = parsed.target
    if re.fullmatch(r"[0-9]{1,4}", target):
        return CameraSource(int(target), options, clock=clock)
    if target.startswith("/"):
        return CameraSource(target, options, clock=clock)
    raise UsageError(
        f"no camera is called {target!r}", where=uri, hint="write camera:0 or camera:/dev/video0"
    )


def _stream(parsed: SourceUri, clock: Clock | None, capture: CaptureOptions) -> Source:
    given = read_options(
        parsed.options,
        {
            "transport": _transport,
            "open_timeout": _seconds,
            "read_timeout": _seconds,
            "stream_time": _switch,
        },
        parsed.target,
    )
    for key in ("open_timeout", "read_timeout"):
        if key in given:
            given[f"{key}_s"] = given.pop(key)
    return NetworkSource(parsed.target, msgspec.structs.replace(capture, **given), clock=clock)


def _recording(path: Path, fps: float | None, clock: Clock | None, adopt_size: bool) -> Source:
    """A file or folder, by its content; the suffix decides only for pictures."""
    if not _exists(path):
        raise SourceError("no such file or folder", where=str(path))
    if path.is_dir():
        return _folder(path, fps, clock)
    if not path.is_file():
        raise SourceError(
            "neither a file nor a folder", where=str(path), hint="write camera:PATH if it is a capture device"
        )
    if is_dicom(path):
        return DicomSource(path, fps=fps, clock=clock)
    if is_image(path):
        return ImageSource(path, fps=fps, clock=clock)
    return VideoSource(path, fps=fps, adopt_size=adopt_size, clock=clock)


def _folder(path: Path, fps: float | None, clock: Clock | None) -> Source:
    pictures = list_images(path)
    objects = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and is_dicom(p)]
    if pictures and objects:
        raise SourceError(
            f"the folder has {len(pictures)} pictures and {len(objects)} DICOM files",
            where=str(path),
            hint="keep them in folders of their own",
        )
    if objects:
        return DicomSource(path, fps=fps, clock=clock)
    if pictures:
        return ImageSource(path, fps=fps, clock=clock)
    inner = sum(p.is_dir() for p in path.iterdir())
    raise SourceError(
        "the folder has neither pictures nor DICOM files",
        where=str(path),
        hint=f"name one of its {inner} subfolders" if inner else "",
    )


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, a null byte, a broken encoding: nothing of that name can exist
        return False
