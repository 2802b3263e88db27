"""Attributes that may sit at the top of a data set or in a functional group macro (PS3.3 C.7.6.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def _group_item(dataset: Dataset, index: int, name: str) -> Dataset | None:
    """A functional group macro of one frame: its own, else the shared one (PS3.3 C.7.6.16)."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in ([per_frame[index]] if index < len(per_frame) else []), shared[:1]:
        for group in groups:
            item: Dataset | None = next(iter(group.get(name) or ()), None)
            if item is not None:
                return item
    return None


def frame_value(dataset: Dataset, index: int, macro: str, keyword: str) -> Any:
    """An attribute of one frame: from its functional group macro, else from the top of the data set."""
    item = _group_item(dataset, index, macro)
    value = None if item is None else item.get(keyword)
    return dataset.get(keyword) if value is None or value == "" else value


def first_number(value: Any) -> float | None:
    """The first value of a DS attribute, None where empty or not finite."""
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int, float)):
        value = next(iter(value), None)
    number = None if value is None else float(value)
    return number if number is not None and np.isfinite(number) else None
