"""A bundle over HTTPS: size and time bounded, certificates checked, never over anything else.

Nothing that arrives is trusted: it is a file like one from a USB stick, checked as any other. HTTPS hides what a
device asks for, and keeps somebody on the way from wasting its time.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from bedside.runtime.clock import Clock
from bedside.runtime.errors import SourceError, UsageError

SCHEME = "https://"
_CHUNK = 1 << 18
#: A server that says nothing for so long is given up, in seconds.
SILENCE_S = 15.0
#: A download that takes longer is given up, in seconds.
MOST_S = 3600.0


def download(
    url: str,
    write: Callable[[bytes], None],
    *,
    most: int,
    clock: Clock,
    context: ssl.SSLContext | None = None,
    silence_s: float = SILENCE_S,
    most_s: float = MOST_S,
) -> None:
    """Fetch a file.

    Args:
        url: Begins with `https://`.
        write: Called with its bytes, piece by piece.
        most: Bytes that it may have.
        clock: For the time limit.
        context: None for the system's certificates.
        silence_s: Longest wait for the server.
        most_s: Longest time for all of it.

    Raises:
        UsageError: It is no such URL.
        SourceError: The server cannot be reached, answers anything but the file, sends too much or too slowly.
    """
    shown = without_secrets(url)
    deadline = clock.now_ns() + round(most_s * 1e9)
    received = 0
    try:
        with _opener(context).open(request.Request(url), timeout=silence_s) as response:
            expected = _length(response)
            if expected is not None and expected > most:
                raise _failed(shown, f"has {expected} bytes, allowed are {most}")
            while chunk := response.read1(_CHUNK):
                received += len(chunk)
                if received > most:
                    raise _failed(shown, f"has more than {most} bytes")
                if clock.now_ns() > deadline:
                    raise _failed(shown, f"has not ended after {most_s:g} s")
                write(chunk)
            if expected is not None and received != expected:
                raise _failed(shown, f"ended after {received} of {expected} bytes")
    except HTTPError as error:
        error.close()
        raise _failed(shown, f"the server answered {error.code}") from None
    except URLError as error:
        raise _unreachable(shown, error.reason) from None
    except (TimeoutError, ssl.SSLError, ConnectionError, HTTPException) as error:
        raise _unreachable(shown, error) from None


def without_secrets(url: str) -> str:
    """A URL for messages: without user, password and query.

    Raises:
        UsageError: It is no HTTPS URL.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError("not https")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise UsageError("is no https:// address", hint="give a path, or https://HOST/PATH") from None
    return f"{SCHEME}{parts.hostname}{port}{parts.path}"


class _Redirects(request.HTTPRedirectHandler):
    max_redirections = 5
    max_repeats = 2

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise URLError("it redirects to something that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener(context: ssl.SSLContext | None) -> request.OpenerDirector:
    """Knows https and nothing else; `build_opener` would add http, ftp and files."""
    opener = request.OpenerDirector()
    opener.addheaders = [("User-Agent", "bedside")]
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPSHandler(context=context or ssl.create_default_context()),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _length(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _failed(shown: str, what: str) -> SourceError:
    return SourceError(what, where=shown, hint="nothing was installed")


def _unreachable(shown: str, reason: object) -> SourceError:
    hint = "check the address and the network"
    if isinstance(reason, ssl.SSLCertVerificationError):
        hint = "its certificate is not trusted here; is this device's clock right?"
        return SourceError(reason.verify_message or "certificate refused", where=shown, hint=hint)
    what = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return SourceError(what, where=shown, hint=hint)
