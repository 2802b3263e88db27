"""Whether 32 bytes are a public key that an honest signer can have (RFC 8032, section 5.1).

OpenSSL, which verifies the signatures, takes any 32 bytes for a key. Under a point of small order, for example
`01 00 ... 00` or its other spelling `ee ff ... 7f`, a signature that needs no private key holds for every message.
Keys are therefore looked at before they are believed: one spelling, on the curve, of the prime order. Public data
only: the arithmetic is plain and need not take constant time.
"""

from __future__ import annotations

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
#: Order of the base point (RFC 8032, table 1).
_L = 2**252 + 27742317777372353535851937790883648493

#: `(X, Y, Z, T)` with `x = X / Z`, `y = Y / Z`, `x * y = T / Z` (RFC 8032, section 5.1.4).
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def check_point(public: bytes) -> None:
    """Check a raw public key.

    Raises:
        ValueError: It is not 32 bytes, not the canonical encoding of a point of the curve, or the point is not of
            the order that every honest key has.
    """
    if len(public) != 32:
        raise ValueError(f"an Ed25519 key has 32 bytes, not {len(public)}")
    point = _decompress(public)
    if _is_neutral(point) or not _is_neutral(_times(_L, point)):
        raise ValueError("not a key that an honest signer can have: a point of small or mixed order")


def _decompress(public: bytes) -> _Point:
    """RFC 8032, section 5.1.3."""
    both = int.from_bytes(public, "little")
    y, sign = both & ((1 << 255) - 1), both >> 255
    if y >= _P:
        raise ValueError("not the canonical encoding of an Ed25519 key")
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x + u) % _P == 0:
        x = x * _SQRT_OF_MINUS_ONE % _P
    if (v * x * x - u) % _P:
        raise ValueError("not a point of the curve of Ed25519")
    if x == 0 and sign:
        raise ValueError("not the canonical encoding of an Ed25519 key")
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _add(p: _Point, q: _Point) -> _Point:
    """RFC 8032, section 5.1.4; complete, so that it doubles as well."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * _D, 2 * p[2] * q[2]
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    total = _NEUTRAL
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _is_neutral(point: _Point) -> bool:
    return point[0] == 0 and point[1] == point[2]
