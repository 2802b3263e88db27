"""`signatures.json`: one form, strictly read, whatever is thrown at it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle.signatures import (
    MOST,
    SPKI_PREFIX,
    Signature,
    decode,
    encode,
    key_id,
    merge,
    message,
)

HEX = "0123456789abcdef"

some = st.builds(
    Signature,
    algorithm=st.just("ed25519"),
    key=st.text(HEX, min_size=64, max_size=64),
    signature=st.text(HEX, min_size=128, max_size=128),
)


def one(key: str = "ab" * 32, signature: str = "cd" * 64) -> Signature:
    return Signature(algorithm="ed25519", key=key, signature=signature)


def plain(**changes: Any) -> dict[str, Any]:
    """The file of `one()` as plain data; a change to `...` removes the key."""
    signature = {"algorithm": "ed25519", "key": "ab" * 32, "signature": "cd" * 64}
    entry = {k: v for k, v in (signature | changes).items() if v is not ...}
    return {"format_version": 1, "signatures": [entry]}


def text(file: Any) -> bytes:
    """In the layout of the canonical form."""
    return json.dumps(file, indent=1).encode()


def test_the_layout_of_these_tests_is_the_canonical_one() -> None:
    assert text(plain()) == encode([one()])


@given(st.lists(some, min_size=1, max_size=MOST))
def test_what_was_written_is_read(signatures: list[Signature]) -> None:
    data = encode(signatures)
    assert decode(data) == merge(signatures)
    assert encode(reversed(merge(signatures))) == data
    assert len({s.key for s in decode(data)}) == len(decode(data))


def test_sixteen_signatures_fit_into_the_limit_of_the_member() -> None:
    from bedside.runtime.bundle.container import LIMITS

    most = [one(f"{i:064x}") for i in range(MOST)]
    assert len(encode(most)) < LIMITS.signatures
    with pytest.raises(ValueError, match="length"):
        encode([*most, one("f" * 64)])
    with pytest.raises(ValueError, match="length"):
        encode([])


def test_of_a_key_that_signs_again_the_last_signature_stays() -> None:
    old, new = one(signature="00" * 64), one(signature="11" * 64)
    other = one("cd" * 32)
    assert merge([old, other], [new]) == (new, other)


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    ("file", "says"),
    [
        (plain(algorithm="rsa"), "algorithm"),
        (plain(algorithm="none"), "algorithm"),
        (plain(algorithm="Ed25519"), "algorithm"),
        (plain(algorithm=...), "algorithm"),
        (plain(key="ab" * 31), "key"),
        (plain(key="AB" * 32), "key"),
        (plain(key="ab" * 32 + "\n"), "key"),
        (plain(key="../" * 21 + "a"), "key"),
        (plain(key=None), "key"),
        (plain(signature="cd" * 63), "signature"),
        (plain(signature="cd" * 65), "signature"),
        (plain(signature=""), "signature"),
        (plain(signature=["cd"] * 64), "signature"),
        (plain(name="release"), "name"),
        (plain(expires="1970-01-01"), "expires"),
        (plain() | {"format_version": 0}, "format_version"),
        (plain() | {"format_version": "1"}, "format_version"),
        (plain() | {"format_version": 1.5}, "format_version"),
        (plain() | {"format_version": True}, "format_version"),
        (plain() | {"note": ""}, "note"),
        ({"format_version": 1}, "signatures"),
        ({"signatures": plain()["signatures"]}, "format_version"),
        ({"format_version": 1, "signatures": []}, "length"),
        ({"format_version": 1, "signatures": plain()["signatures"] * 2}, "signs twice"),
        ({"format_version": 1, "signatures": [plain(key="b" * 64), plain(key="a" * 64)]}, "signatures"),
        (plain() | {"format_version": 2}, "too new"),
        (plain() | {"format_version": 10**18}, "too new"),
        (plain() | {"format_version": 10**400}, "signatures.json"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_what_is_no_signature_is_refused(file: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        decode(text(file))
    assert "\n" not in str(caught.value)


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x00" * 100,
        b"[" * 60_000,
        b'{"format_version":' * 3000,
        encode([one()]) + b"\n",
        b" " + encode([one()]),
        encode([one()]).replace(b"\n", b"\r\n"),
        json.dumps(plain()).encode(),
        encode([one()]).replace(b'"ed25519"', b'"\\u0065d25519"'),
        # The last of two equal keys would win, and the first go unread.
        encode([one()]).replace(b'"key"', b'"key": "' + b"ff" * 32 + b'",\n   "key"'),
        encode([one()]).replace(b'"format_version": 1', b'"format_version": 1,\n "format_version": 1'),
        encode([one("a" * 64), one("b" * 64)]).replace(b"a" * 64, b"c" * 64),
    ],
)
def test_any_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"signatures\.json"):
        decode(data)


@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.fault("B6")
@given(st.lists(some, min_size=1, max_size=3), st.data())
def test_a_change_is_refused_or_another_signature(signatures: list[Signature], draw: st.DataObject) -> None:
    """Whatever is read was written in the one form of what was read: no byte goes unread."""
    data = bytearray(encode(signatures))
    for _ in range(draw.draw(st.integers(1, 3))):
        position = draw.draw(st.integers(0, len(data) - 1))
        match draw.draw(st.sampled_from(("flip", "cut", "insert", "drop"))):
            case "flip":
                data[position] ^= 1 << draw.draw(st.integers(0, 7))
            case "cut":
                del data[position:]
            case "insert":
                data[position:position] = draw.draw(st.binary(min_size=1, max_size=8))
            case _:
                del data[position]
        if not data:
            break
    try:
        read = decode(bytes(data))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert encode(read) == bytes(data)


def test_the_id_of_a_key_is_the_digest_of_its_spki() -> None:
    # The key of RFC 8032, section 7.1, test 1; `openssl pkey -pubin -outform DER | sha256sum` says the same.
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert key_id(raw) == "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9"
    assert key_id(raw) == hashlib.sha256(SPKI_PREFIX + raw).hexdigest()


def test_a_message_is_of_one_key_and_one_bundle_and_of_nothing_else() -> None:
    keys, digests = ("ab" * 32, "cd" * 32), ("01" * 32, "02" * 32)
    messages = {message(digest, key) for key in keys for digest in digests}
    assert len(messages) == 4
    assert {len(m) for m in messages} == {len(message(digests[0], keys[0]))}
    assert all(m.startswith(b"bedside bundle signature, format 1, ed25519\n") for m in messages)
    # Swapping the two digests must not give the message of somebody else.
    assert message(keys[0], digests[0]) != message(digests[0], keys[0])
