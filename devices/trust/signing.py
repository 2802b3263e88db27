"""Sign a bundle: written again, whole, with one signature more."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bedside.devices.profiles.schema import TrustSection
from bedside.devices.trust.keys import PrivateKey
from bedside.devices.trust.store import TrustStore
from bedside.devices.trust.verdict import judge
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.signatures import merge
from bedside.runtime.bundle.writer import write_signed
from bedside.runtime.errors import TrustError


class Signed(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        path: Of the signed bundle.
        digest: Of the bundle, as it was before.
        key: Id of the key that signed.
        signers: Ids of all keys that have signed it by now.
        written: False where the same signature was there already, and nothing changed.
    """

    path: Path
    digest: str
    key: str
    signers: tuple[str, ...]
    written: bool


def sign_bundle(
    path: Path,
    key: PrivateKey,
    *,
    output: Path | None = None,
    replace: bool = False,
    store: TrustStore | None = None,
) -> Signed:
    """Add a signature to a bundle whose every byte holds.

    Ed25519 is deterministic and the file canonical: the same keys give the same bytes, in whatever order they sign.

    Args:
        path: The bundle.
        key: To sign with.
        output: Where to; None is in place.
        replace: Leave out the signatures that it has. Otherwise they stay: a bundle that is signed with the old key
            and the new runs on devices that know either.
        store: To find signatures that do not hold; None for the user's.

    Raises:
        BundleError: It is damaged; as `TrustError`, it carries a signature that does not hold; or it has too many.
        SinkError: It cannot be written; what was there stays.
    """
    target = path if output is None else output
    with open_bundle(path) as bundle:
        bundle.verify_all()
        before = () if replace else bundle.signatures
        for judged in judge(bundle.digest, before, TrustSection(), store or TrustStore()).signatures:
            if judged.state == "invalid":
                what = f"carries a signature of {judged.name} ({judged.key[:16]}) that is not of this bundle"
                raise TrustError(
                    what, where=str(path), hint="was it edited? --replace leaves that signature out"
                )
        mine = key.sign(bundle.digest)
        # A signature that a fault of the machine spoiled can give the key away (Romailler and Pelissier, Practical
        # fault attack against the Ed25519 and EdDSA signature schemes, 2017).
        if not key.public.holds(mine, bundle.digest):
            raise TrustError("the signature that was just made does not hold: is this machine sound?")
        after = merge(before, (mine,))
        written = after != bundle.signatures or target != path
        if written:
            write_signed(target, bundle, after)
        return Signed(target, bundle.digest, mine.key, tuple(s.key for s in after), written)
