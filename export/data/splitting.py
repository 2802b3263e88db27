"""Splits: by group, stratified as well as groups allow, stable under a seed, and free of shared content.

Which group goes where is decided class by class, the class with the fewest groups first (iterative
stratification, Sechidis et al., ECML PKDD 2011, with groups in the place of samples). Within a class the
order is that of a seeded hash of the group's name, so a group that is added later moves few others.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from bedside.export.data.folds import Fold, deal
from bedside.export.data.groups import joined
from bedside.export.data.types import SPLITS, DataSet, Found, Item, Split, SplitName
from bedside.runtime.errors import RecipeError

#: Splits that items can be drawn into, in the order in which they choose.
DRAWN: tuple[SplitName, ...] = ("holdout", "validation", "calibration")


class Fractions(msgspec.Struct, frozen=True):
    """What share of each class's items is wanted outside the training split.

    Items that are fixed in the training split are not counted.
    """

    holdout: float
    validation: float
    calibration: float = 0.0

    def of(self, split: SplitName) -> float:
        """The share of one split."""
        shares = {"holdout": self.holdout, "validation": self.validation, "calibration": self.calibration}
        return shares.get(split, 1.0 - sum(shares.values()))


def to_draw(present: Collection[SplitName], calibration: float) -> tuple[SplitName, ...]:
    """Which splits have to be drawn: those that the data does not fix; calibration where a share is wanted."""
    return tuple(s for s in DRAWN if s not in present and (s != "calibration" or calibration > 0))


def make_data(found: Found, *, fractions: Fractions, seed: int, fold: Fold | None = None) -> DataSet:
    """Split items that have no split yet, and check what must hold of all splits.

    Args:
        found: What an adapter found; items with `split` set stay there, and take their group along.
        fractions: Wanted shares, per class.
        seed: Of the order in which groups are drawn.
        fold: The holdout is this fold, and `fractions.holdout` is not used.

    Raises:
        RecipeError: A group or a content is fixed in two splits, a key appears twice, a class is missing from a
            split, or folds are wanted of data that fixes its splits.
    """
    ordered = sorted(found.items, key=lambda item: item.key)
    _check_keys(ordered)
    merged, notes = _join_by_content(ordered)
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in merged:
        groups[item.group].append(item)
    assigned = _fixed(groups)
    draw = found.draw if fractions.validation else tuple(s for s in found.draw if s != "validation")
    if fold is not None:
        _deal_holdout(groups, assigned, found.draw, fold)
        draw = tuple(split for split in draw if split != "holdout")
        notes.append(f"the holdout is fold {fold.index + 1} of {fold.count}, dealt by content")
    classes = len(found.labels) if found.labelled else 1
    _draw(groups, assigned, classes, fractions, seed, draw)
    parts: dict[SplitName, list[Item]] = {name: [] for name in SPLITS}
    for item in merged:
        parts[assigned[item.group]].append(item)
    splits = {name: make_split(name, part) for name, part in parts.items()}
    optional = ("validation", "calibration")
    needed = [s for s in splits.values() if s.name not in optional or s.items or s.name in draw]
    if found.labelled:
        _check_classes(needed, groups, found.labels)
    else:
        _check_filled(needed, len(groups))
    _check_leaks(splits)
    return DataSet(
        labels=found.labels,
        train=splits["train"],
        validation=splits["validation"],
        calibration=splits["calibration"],
        holdout=splits["holdout"],
        sources=found.sources,
        notes=(*found.notes, *notes),
    )


def leak(a: Item, b: Item, split_a: str, split_b: str, what: str = "have identical content") -> RecipeError:
    """What is said of two items that must not be in two splits."""
    return RecipeError(
        f"{a.key} ({split_a}) and {b.key} ({split_b}) {what}",
        where="data",
        hint="what the model has seen says nothing about it; remove one of them",
    )


def _deal_holdout(
    groups: Mapping[str, Sequence[Item]],
    assigned: dict[str, SplitName],
    draw: Sequence[SplitName],
    fold: Fold,
) -> None:
    """Assign the groups of the fold to the holdout, in place; what is pinned to training stays there."""
    fixed = [group for group, split in assigned.items() if split != "train"]
    if fixed or "holdout" not in draw or "validation" not in draw:
        raise RecipeError(
            "folds cannot be dealt: the data has splits of its own",
            where="data",
            hint="use its holdout, or give the files without split folders",
        )
    free = {group: members for group, members in groups.items() if group not in assigned}
    if len(free) < fold.count:
        raise RecipeError(f"{len(free)} groups cannot be dealt into {fold.count} folds", where="data")
    for group, index in deal(free, fold.count).items():
        if index == fold.index:
            assigned[group] = "holdout"


def make_split(name: SplitName, items: Sequence[Item]) -> Split:
    """A split with its digest.

    It is sha256 over `key NUL label NUL content-digest [NUL target-digest] LF` of every item, in order.
    """
    digest = hashlib.sha256()
    for item in items:
        target = f"\0{item.target_sha256}" if item.target_sha256 else ""
        digest.update(f"{item.key}\0{item.label}\0{item.sha256}{target}\n".encode())
    return Split(name, tuple(items), digest.hexdigest(), len({item.group for item in items}))


def _check_keys(items: Sequence[Item]) -> None:
    for before, after in itertools.pairwise(items):
        if before.key == after.key:
            raise RecipeError(
                f"{after.key} is named twice",
                where="data",
                hint="two patterns match it; narrow one, or use exclude",
            )


def _join_by_content(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Make one group of groups that share a content; fixed splits are left for `_fixed` to judge."""
    first: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    twofold = 0
    for index, item in enumerate(items):
        at = first.setdefault(item.sha256, index)
        twin = items[at]
        if twin.split is not None and item.split is not None and twin.split != item.split:
            raise leak(twin, item, twin.split, item.split)
        pairs.append((at, index))
        twofold += twin.label != item.label
    together, fewer = joined(items, pairs)
    notes = []
    if fewer:
        notes.append(f"{fewer} groups were joined with another because they share identical frames")
    if twofold:
        notes.append(f"{twofold} frames are identical to a frame with another label")
    return together, notes


def _fixed(groups: dict[str, list[Item]]) -> dict[str, SplitName]:
    """Groups of which an item has a fixed split."""
    assigned: dict[str, SplitName] = {}
    for group, members in groups.items():
        fixed = [item for item in members if item.split is not None]
        for item in fixed:
            if item.split != fixed[0].split:
                raise RecipeError(
                    f"group {group!r} is in two splits: {fixed[0].key} in {fixed[0].split}, "
                    f"{item.key} in {item.split}",
                    where="data",
                    hint="frames of one subject or sequence belong into one split",
                )
        if fixed and fixed[0].split is not None:
            assigned[group] = fixed[0].split
    return assigned


def _draw(
    groups: dict[str, list[Item]],
    assigned: dict[str, SplitName],
    classes: int,
    fractions: Fractions,
    seed: int,
    draw: Sequence[SplitName],
) -> None:
    """Assign every group that has no split yet, in place."""
    per_group = {group: Counter(item.label for item in members) for group, members in groups.items()}
    order = {group: hashlib.sha256(f"{seed}\0{group}".encode()).digest() for group in groups}
    free_of = {
        label: sorted((g for g in groups if g not in assigned and per_group[g][label]), key=order.__getitem__)
        for label in range(classes)
    }
    # What is pinned to training (drawn frames, say) does not make the other splits larger.
    pinned = {group for group, split in assigned.items() if split == "train"}
    totals = [sum(n[c] for g, n in per_group.items() if g not in pinned) for c in range(classes)]
    for label in sorted(free_of, key=lambda c: (len(free_of[c]), c)):
        free = [g for g in free_of[label] if g not in assigned]
        for position, split in enumerate(draw):
            have = sum(per_group[g][label] for g, s in assigned.items() if s == split)
            needy = [
                s for s in (*draw[position + 1 :], "train") if not _present(label, s, assigned, per_group)
            ]
            picked = _pick(
                free, per_group, label, fractions.of(split) * totals[label] - have, len(needy), have == 0
            )
            for group in picked:
                assigned[group] = split
            free = [g for g in free if g not in assigned]
        for group in free:
            assigned[group] = "train"


def _present(
    label: int, split: str, assigned: dict[str, SplitName], per_group: dict[str, Counter[int]]
) -> bool:
    return any(s == split and per_group[g][label] for g, s in assigned.items())


def _pick(
    free: Sequence[str],
    per_group: dict[str, Counter[int]],
    label: int,
    wanted: float,
    keep: int,
    required: bool,
) -> list[str]:
    """Groups, in order, as long as each brings the count closer to what is wanted; at least one if required.

    Args:
        free: Groups to choose from.
        per_group: Items per class of every group.
        label: The class that is counted.
        wanted: How many items of the class.
        keep: How many groups have to be left for other splits.
        required: Whether to take the smallest group where none brings the count closer.
    """
    picked: list[str] = []
    have = 0
    for group in free:
        if len(free) - len(picked) <= keep:
            break
        size = per_group[group][label]
        if abs(have + size - wanted) < abs(have - wanted):
            picked.append(group)
            have += size
    if not picked and required and len(free) > keep:
        picked = [min(free, key=lambda g: per_group[g][label])]
    return picked


def _check_classes(
    splits: Sequence[Split], groups: Mapping[str, Sequence[Item]], labels: Sequence[str]
) -> None:
    for index, label in enumerate(labels):
        of_class = sum(any(item.label == index for item in members) for members in groups.values())
        if of_class == 0:
            raise RecipeError(f"class {label!r} has no samples", where="data")
        for split in splits:
            if not any(item.label == index for item in split.items):
                raise RecipeError(
                    f"class {label!r} has no samples in the {split.name} split",
                    where="data",
                    hint=f"it has {of_class} group{'s' * (of_class > 1)}, and every split needs one: "
                    "more data, or a finer data.group where frames really are independent",
                )


def _check_filled(splits: Sequence[Split], groups: int) -> None:
    for split in splits:
        if not split.items:
            raise RecipeError(
                f"there are no samples in the {split.name} split",
                where="data",
                hint=f"there are {groups} group{'s' * (groups != 1)}, and every split needs one: "
                "more data, or a finer data.group where frames really are independent",
            )


def _check_leaks(splits: Mapping[SplitName, Split]) -> None:
    seen: dict[str, tuple[SplitName, Item]] = {}
    for name, split in splits.items():
        for item in split.items:
            other, twin = seen.setdefault(item.sha256, (name, item))
            if other != name:
                raise leak(twin, item, other, name)
