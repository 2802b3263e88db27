"""Folds: every group in exactly one, by content, whatever the files are called and in whatever order they come."""

import hashlib
import random
from collections import Counter, defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.export.data.folds import Fold, deal
from bedside.export.data.splitting import Fractions, make_data, to_draw
from bedside.export.data.types import DataSet, Found, Item, SplitName
from bedside.runtime.errors import RecipeError

FRACTIONS = Fractions(holdout=0.2, validation=0.15)


def item(key: str, label: int, group: str, split: SplitName | None = None, content: str = "") -> Item:
    digest = hashlib.sha256((content or key).encode()).hexdigest()
    return Item(key, label, group, lambda: pytest.fail("not to be read"), digest, split)


def crowd(sizes: list[list[int]]) -> list[Item]:
    """Per class, groups of so many items."""
    return [
        item(f"{label}/{group}/{index}", label, f"{label}/{group}")
        for label, groups in enumerate(sizes)
        for group, size in enumerate(groups)
        for index in range(size)
    ]


def split(items: list[Item], fold: Fold | None, seed: int = 1, labels: int = 2) -> DataSet:
    names = tuple(f"c{index}" for index in range(labels))
    found = Found(names, tuple(items), to_draw((), 0.0), labelled=labels > 1)
    return make_data(found, fractions=FRACTIONS, seed=seed, fold=fold)


GROUPS = st.lists(st.lists(st.integers(1, 6), min_size=8, max_size=14), min_size=1, max_size=3)


@settings(max_examples=60)
@given(sizes=GROUPS, count=st.integers(2, 5), shuffle=st.randoms(use_true_random=False))
def test_folds_partition_groups_and_depend_on_content_alone(
    sizes: list[list[int]], count: int, shuffle: random.Random
):
    items = crowd(sizes)
    by_group = defaultdict(list)
    for one in items:
        by_group[one.group].append(one)
    folds = deal(by_group, count)
    assert set(folds) == set(by_group)
    assert set(folds.values()) == set(range(count))
    # Other file names, other group names, another order: the same contents are together in the same fold.
    renamed = {
        group: f"g{index}" for index, group in enumerate(shuffle.sample(sorted(by_group), len(by_group)))
    }
    shuffled = [msgspec.structs.replace(i, key=f"x/{n}", group=renamed[i.group]) for n, i in enumerate(items)]
    shuffle.shuffle(shuffled)
    again = defaultdict(list)
    for one in shuffled:
        again[one.group].append(one)
    other = deal(again, count)
    assert {i.sha256: folds[i.group] for i in items} == {i.sha256: other[i.group] for i in shuffled}


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 6), min_size=10, max_size=60), count=st.integers(2, 5))
def test_folds_are_of_a_size_to_within_one_group(sizes: list[int], count: int):
    by_group = defaultdict(list)
    for one in crowd([sizes]):
        by_group[one.group].append(one)
    folds = deal(by_group, count)
    totals = Counter(dict.fromkeys(range(count), 0))
    for group, fold in folds.items():
        totals[fold] += len(by_group[group])
    assert max(totals.values()) - min(totals.values()) <= max(sizes)


def test_every_item_is_held_out_once_and_no_group_is_divided():
    items = crowd([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 7, 1, 8, 2, 8, 1, 8, 2, 8]])
    held = Counter()
    for index in range(5):
        data = split(items, Fold(index, 5))
        held.update(i.key for i in data.holdout.items)
        groups = [{i.group for i in part.items} for part in data.splits]
        assert sum(len(g) for g in groups) == len(set.union(*groups)) == 20
        assert all(part.counts(2).min() > 0 for part in data.splits)
        assert f"the holdout is fold {index + 1} of 5, dealt by content" in data.notes
    assert set(held.values()) == {1}
    assert set(held) == {i.key for i in items}


def test_the_seed_moves_validation_but_not_the_fold():
    items = crowd([[1] * 60, [1] * 60])
    one, two = split(items, Fold(2, 5), seed=1), split(items, Fold(2, 5), seed=2)
    assert one.holdout.sha256 == two.holdout.sha256
    assert one.validation.sha256 != two.validation.sha256
    assert one.holdout.counts(2).tolist() == [12, 12]
    assert abs(len(one.validation.items) - 0.15 * 120) <= 2


def test_groups_that_share_a_frame_are_dealt_together():
    items = [
        *crowd([[1] * 10, [1] * 10]),
        item("x", 0, "x", content="same"),
        item("y", 1, "y", content="same"),
    ]
    for index in range(3):
        keys = {i.key for i in split(items, Fold(index, 3)).holdout.items}
        assert ("x" in keys) == ("y" in keys)


def test_what_is_pinned_to_training_is_in_no_fold():
    pinned = [item(f"drawn/{n}", 0, f"drawn/{n}", "train") for n in range(50)]
    for index in range(3):
        data = split([*crowd([[1] * 12, [1] * 12]), *pinned], Fold(index, 3))
        assert {i.key for i in pinned} <= {i.key for i in data.train.items}
        assert data.holdout.counts(2).tolist() == [4, 4]


def test_data_with_splits_of_its_own_has_no_folds():
    items = [*crowd([[1] * 9, [1] * 9]), item("h", 0, "h", "holdout")]
    with pytest.raises(RecipeError, match="splits of its own"):
        split(items, Fold(0, 3))
    with pytest.raises(RecipeError, match=r"4 groups cannot be dealt into 5 folds"):
        split(crowd([[2, 2, 2, 2]]), Fold(0, 5), labels=1)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"index": 0, "count": 1}, Fold)
