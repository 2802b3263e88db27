"""Whether a bundle may be used here: its signatures, held against the keys of the store and a profile's policy.

The rules, whatever the policy says:

- A signature by a key of the store that does not hold refuses the bundle: its manifest was edited, or the signature
  taken from another bundle (fault B1).
- A bundle whose signatures are by revoked keys, and by no trusted one, is refused (B6). Signed with the old key and
  the new, it outlives the old one.
- A signature by a key that is not here says nothing, good or bad.

Where the policy requires signatures, keys that are trusted here must have given as many as it says; everything else
is refused. Time plays no part: no signature and no key expires (U5).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from bedside.devices.profiles.schema import TrustSection
from bedside.devices.trust.audit import Audit
from bedside.devices.trust.store import TrustStore
from bedside.runtime.bundle.reader import Bundle, open_bundle
from bedside.runtime.bundle.signatures import Signature
from bedside.runtime.errors import BundleError, TrustError

#: `trusted`: the key is here and the signature holds. `invalid`: the key is here and it does not. `revoked`: the
#: key is on the list of revocations. `unknown`: it is not here.
State = Literal["trusted", "invalid", "revoked", "unknown"]


class Judged(msgspec.Struct, frozen=True):
    """One signature, judged.

    Attributes:
        key: Id of the key.
        name: What the key is called here; empty where it is not here.
        state: See `State`.
    """

    key: str
    name: str
    state: State

    def __str__(self) -> str:
        """`trusted release-2026 (f00dcafe12345678)`."""
        short = self.key[:16]
        return f"{self.state} {self.name} ({short})" if self.name else f"{self.state} {short}"


class TrustVerdict(msgspec.Struct, frozen=True):
    """What follows from the signatures of a bundle.

    Attributes:
        digest: Of the bundle.
        signatures: Judged, in the order of their keys.
        refused: Why the bundle may not be used here; None where it may.
    """

    digest: str
    signatures: tuple[Judged, ...]
    refused: str | None

    @property
    def trusted(self) -> tuple[Judged, ...]:
        """Signatures by trusted keys."""
        return tuple(s for s in self.signatures if s.state == "trusted")

    def __str__(self) -> str:
        """For people, in one line."""
        if not self.signatures:
            return "no: protected against accident only"
        return ", ".join(map(str, self.signatures))


def judge(
    digest: str, signatures: tuple[Signature, ...], policy: TrustSection, store: TrustStore
) -> TrustVerdict:
    """Hold the signatures of a bundle against store and policy. A bundle without any does not ask the store.

    Args:
        digest: Of the bundle.
        signatures: As it carries them.
        policy: What the profile requires.
        store: Of this device.

    Raises:
        TrustError: The store is damaged.
    """
    judged: list[Judged] = []
    if signatures:
        # Keys before revocations: one that is revoked meanwhile is seen as revoked.
        keys = {s.key: store.get(s.key) for s in signatures}
        revoked = store.revocations()
        for signature in signatures:
            key = keys[signature.key]
            if signature.key in revoked:
                judged.append(Judged(signature.key, revoked[signature.key].name, "revoked"))
            elif key is None:
                judged.append(Judged(signature.key, "", "unknown"))
            else:
                holds = key.public.holds(signature, digest)
                judged.append(Judged(signature.key, key.name, "trusted" if holds else "invalid"))
    return TrustVerdict(digest, tuple(judged), _why_refused(judged, policy))


def check_trust(bundle: Bundle, policy: TrustSection, store: TrustStore) -> TrustVerdict:
    """Judge a bundle that is open already, and refuse what may not be used. `open_trusted` judges earlier: before
    the manifest is parsed.

    Raises:
        TrustError: The bundle may not be used here, or the store is damaged.
    """
    return _used(judge(bundle.digest, bundle.signatures, policy, store), bundle.path)


@contextmanager
def open_trusted(
    path: Path,
    policy: TrustSection | None = None,
    *,
    store: TrustStore | None = None,
    audit: Audit | None = None,
) -> Iterator[tuple[Bundle, TrustVerdict]]:
    """Open a bundle that may be used here. Until that is known, zip directory, `bundle.json` and `signatures.json`
    are read, and nothing of a model.

    Args:
        path: Of the file.
        policy: Of the profile; None requires no signature.
        store: None for the policy's.
        audit: Told of a refusal.

    Yields:
        The bundle, closed when the block ends, and the verdict.

    Raises:
        BundleError: It is damaged; as `TrustError`, not signed as it has to be.
    """
    policy = policy or TrustSection()
    store = store or store_of(policy)
    seen: list[str] = []
    verdicts: list[TrustVerdict] = []

    def look(digest: str, signatures: tuple[Signature, ...]) -> None:
        seen.append(digest)
        verdicts.append(judge(digest, signatures, policy, store))
        _used(verdicts[0], path)

    try:
        bundle = open_bundle(path, judge=look)
    except BundleError as error:
        if audit is not None and path.is_file():  # a mistyped path is no refusal
            _record(audit, error, seen, verdicts)
        raise
    with bundle:
        yield bundle, verdicts[0]


def store_of(policy: TrustSection) -> TrustStore:
    """The store that a profile names, or the user's."""
    return TrustStore(Path(policy.store) if policy.store is not None else None)


_HINT = "`bedside inspect` shows who signed it, `bedside keys list` whom this device trusts"


def _why_refused(judged: list[Judged], policy: TrustSection) -> str | None:
    states = {
        state: [s for s in judged if s.state == state]
        for state in ("trusted", "invalid", "revoked", "unknown")
    }
    if states["invalid"]:
        bad = states["invalid"][0]
        return (
            f"the signature of {bad.name} ({bad.key[:16]}) is not of this bundle: it was edited, or the signature "
            "was taken from another one"
        )
    trusted = len(states["trusted"])
    if states["revoked"] and not trusted:
        bad = states["revoked"][0]
        return f"signed by a key that was revoked: {bad.name or 'unnamed'} ({bad.key[:16]})"
    if not policy.require_signature or trusted >= policy.signatures:
        return None
    if not judged:
        return "not signed, and the profile requires a signature"
    if not trusted:
        return f"signed by keys that this device does not know: {', '.join(s.key[:16] for s in judged)}"
    counted = f"{trusted} trusted key{'' if trusted == 1 else 's'}"
    return f"signed by {counted}, and the profile requires {policy.signatures}"


def _used(verdict: TrustVerdict, path: Path) -> TrustVerdict:
    if verdict.refused is not None:
        raise TrustError(verdict.refused, where=str(path), hint=_HINT)
    return verdict


def _record(audit: Audit, error: BundleError, seen: list[str], verdicts: list[TrustVerdict]) -> None:
    # A closed set of facts and no free text: a path, or what a file says of itself, may hold a name.
    facts: dict[str, str] = {"reason": "signature" if isinstance(error, TrustError) else "damaged"}
    if seen:
        facts["digest"] = seen[0]
    bad = [s for verdict in verdicts for s in verdict.signatures if s.state != "trusted"]
    if bad:
        facts["key"] = bad[0].key
    audit.record("refused", **facts)
