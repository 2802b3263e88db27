"""Which public keys are believed. The bad ones are those that OpenSSL takes."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.devices.trust.keys import public_key
from bedside.devices.trust.points import check_point

P = 2**255 - 19

#: Points of order 8, by their y (the blocklist of libsodium, ge25519_has_small_order).
ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


SMALL = [
    *(encoded(y, sign) for y in (0, 1, P - 1) for sign in (0, 1)),
    *(encoded(y, sign) for y in (P, P + 1) for sign in (0, 1)),
    *(bytes.fromhex(text) for text in ORDER_8),
    *(bytes.fromhex(text[:-2] + f"{int(text[-2:], 16) | 0x80:02x}") for text in ORDER_8),
]


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=20)
def test_every_real_key_is_believed(seed: bytes) -> None:
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    check_point(raw)
    assert public_key(raw).raw == raw


@pytest.mark.fault("B6")
@pytest.mark.parametrize("raw", SMALL, ids=bytes.hex)
def test_points_of_small_order_are_refused_in_every_spelling(raw: bytes) -> None:
    with pytest.raises(ValueError):
        check_point(raw)


@pytest.mark.fault("B6")
def test_why_that_has_to_be_checked_here() -> None:
    """OpenSSL lets a signature that nobody made hold for any message under the neutral point. If this fails, the
    check has become superfluous, not wrong."""
    forged = encoded(1) + bytes(32)  # R neutral, S = 0
    for raw in (encoded(1), encoded(P + 1)):
        Ed25519PublicKey.from_public_bytes(raw).verify(forged, b"anything")
        with pytest.raises(ValueError):
            check_point(raw)


@pytest.mark.fault("B6")
def test_a_signature_has_one_spelling() -> None:
    """S of a signature plus the order of the group is refused: else anybody could make a second one of it."""
    order = 2**252 + 27742317777372353535851937790883648493
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = key.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature[:32] + s.to_bytes(32, "little"), b"message")


@pytest.mark.fault("B6")
def test_a_real_key_with_a_small_part_added_is_refused() -> None:
    """Of mixed order: implementations differ on signatures under it (Chalkias et al., Taming the many EdDSAs, 2020,
    section 3). Adding the point of order 2, (0, -1), to (x, y) gives (-x, -y)."""
    raw = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    both = int.from_bytes(raw, "little")
    y, sign = both & ((1 << 255) - 1), both >> 255
    mixed = encoded(P - y, 1 - sign)
    check_point(raw)
    with pytest.raises(ValueError, match="order"):
        check_point(mixed)


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_noise_is_refused_with_a_line(raw: bytes) -> None:
    # One in sixteen points of the curve is of prime order or nearly so; a random one seldom is of it.
    try:
        check_point(raw)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33), bytes(1000)], ids=len)
def test_the_wrong_length_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        check_point(raw)


def test_what_lies_on_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match="not a point"):
        check_point(encoded(2))
