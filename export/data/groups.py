"""Groups of items: frames of one subject, sequence or video, and whatever has to stay with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bedside.export.data.types import Item


class Union:
    """Sets of groups that were joined (disjoint-set forest; Tarjan, J. ACM 22(2), 1975, path halving).

    A joined set is named after the first of its groups in alphabetical order, so the order of joining leaves
    no trace.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def name(self, group: str) -> str:
        """The name of the set that a group belongs to."""
        parent = self._parent
        parent.setdefault(group, group)
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    def join(self, one: str, other: str) -> bool:
        """Make one set of two; False where they are one already."""
        a, b = self.name(one), self.name(other)
        self._parent[max(a, b)] = min(a, b)
        return a != b


def joined(items: Sequence[Item], pairs: Iterable[tuple[int, int]]) -> tuple[list[Item], int]:
    """Make one group of the groups of every pair.

    Args:
        items: All of them.
        pairs: Indices into `items`.

    Returns:
        The items with their new groups, and how many groups there are fewer.
    """
    union = Union()
    fewer = sum(union.join(items[a].group, items[b].group) for a, b in pairs)
    if not fewer:
        return list(items), 0
    return [msgspec.structs.replace(item, group=union.name(item.group)) for item in items], fewer
