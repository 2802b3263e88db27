"""Who may vouch for a bundle on this device: keys, the store of those that are trusted, and what follows."""

from bedside.devices.trust.audit import Audit
from bedside.devices.trust.store import TrustedKey, TrustStore, default_store
from bedside.devices.trust.verdict import Judged, TrustVerdict, check_trust, judge, open_trusted, store_of

__all__ = [
    "Audit",
    "Judged",
    "TrustStore",
    "TrustVerdict",
    "TrustedKey",
    "check_trust",
    "default_store",
    "judge",
    "open_trusted",
    "store_of",
]
