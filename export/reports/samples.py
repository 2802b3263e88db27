"""Best and worst cases of the holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bedside.runtime.frame import Pixels

if TYPE_CHECKING:
    from bedside.export.finished import Finished


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    key: str
    pictures: tuple[Pixels, ...] = ()


def samples_to_show(done: Finished) -> tuple[Shown, ...]:
    return ()
