"""Types of single fields in `bundle.json`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# `\Z`, because `$` also matches before a final line feed.
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Text = Annotated[str, Meta(max_length=4096)]
Line = Annotated[str, Meta(max_length=256)]
Positive = Annotated[int, Meta(ge=1, le=1 << 30)]
Dimension = Annotated[int, Meta(ge=1, le=16384)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, and refuses unknown keys."""
