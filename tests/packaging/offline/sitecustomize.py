"""Loaded by every Python process of a clean environment: a device has no network, and must not look for one.

Every attempt is refused, and noted in the file that `BEDSIDE_NETWORK_TRACE` names: telemetry tends to catch
whatever goes wrong. Sockets between processes of one machine (`AF_UNIX`) stay allowed.
"""

import os
import sys

_trace = os.open(os.environ["BEDSIDE_NETWORK_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(_trace, b"watching\n")


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        place = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
        if isinstance(place, (str, bytes)):
            return
    else:
        return
    os.write(_trace, f"{event} {place!r}\n".encode())
    raise ConnectionRefusedError(f"{event} {place!r}: no network here")


sys.addaudithook(_refuse)
