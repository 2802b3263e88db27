"""Folds for cross-validation, fixed by what the frames contain.

Which fold a group is in follows from the content digests and classes of all groups alone: not from a seed, the
order of the files, or their names. So two people with the same data have the same folds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from bedside.export.data.types import Item


class Fold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fold of a cross-validation: it is the holdout, and validation is drawn from the others.

    Attributes:
        index: Which one, from 0.
        count: How many there are.
    """

    index: Annotated[int, Meta(ge=0, le=99)]
    count: Annotated[int, Meta(ge=2, le=100)]


def deal(groups: Mapping[str, Sequence[Item]], count: int) -> dict[str, int]:
    """Deal groups out to folds of about the same size and the same mix of classes.

    Large groups first, and groups of a size by their smallest content digest; each goes to the fold that has the
    fewest items of its most frequent class, then the fewest items, then the lowest index (greedy balancing,
    longest processing time first: Graham, SIAM J. Appl. Math. 17(2), 1969).

    Args:
        groups: Items by group.
        count: How many folds, at least 2.

    Returns:
        The fold of every group.
    """
    keys = {group: min(item.sha256 for item in members) for group, members in groups.items()}
    order = sorted(groups, key=lambda group: (-len(groups[group]), keys[group]))
    of_class: dict[int, list[int]] = defaultdict(lambda: [0] * count)
    sizes = [0] * count
    fold_of: dict[str, int] = {}
    for group in order:
        labels = Counter(item.label for item in groups[group])
        main = min(labels, key=lambda label: (-labels[label], label))
        chosen = min(range(count), key=lambda fold: (of_class[main][fold], sizes[fold], fold))
        fold_of[group] = chosen
        sizes[chosen] += len(groups[group])
        for label, number in labels.items():
            of_class[label][chosen] += number
    return fold_of
