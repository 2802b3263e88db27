"""Splits share no group and no content, hold every class, and stay as they are."""

import hashlib
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.export.data.folds import Fold
from bedside.export.data.splitting import Fractions, to_draw
from bedside.export.data.splitting import make_data as divide
from bedside.export.data.types import DataSet, Found, Item, SplitName
from bedside.runtime.errors import RecipeError

FRACTIONS = Fractions(holdout=0.2, validation=0.15)


def item(key: str, label: int, group: str = "", content: str = "", split: SplitName | None = None) -> Item:
    digest = hashlib.sha256((content or key).encode()).hexdigest()
    return Item(
        key, label, group or key, load=lambda: pytest.fail("not to be read"), sha256=digest, split=split
    )


def make_data(
    items, labels, *, fractions: Fractions, seed: int, draw=None, fold=None, labelled=True
) -> DataSet:
    wanted = to_draw((), fractions.calibration) if draw is None else draw
    found = Found(labels=tuple(labels), items=tuple(items), draw=wanted, labelled=labelled)
    return divide(found, fractions=fractions, seed=seed, fold=fold)


def crowd(groups_per_class: list[int], size: int = 3) -> list[Item]:
    return [
        item(f"{label}/{group:03d}/{index}", label, f"{label}/{group:03d}")
        for label, count in enumerate(groups_per_class)
        for group in range(count)
        for index in range(size)
    ]


def where(data) -> dict[str, str]:
    return {i.key: split.name for split in data.splits for i in split.items}


def test_a_share_of_nothing_leaves_the_validation_split_empty():
    items = crowd([4, 4])
    for fold in (None, Fold(1, 4)):
        data = make_data(items, ["a", "b"], fractions=Fractions(0.25, 0.0), seed=1, fold=fold)
        assert [s.name for s in data.splits] == ["train", "holdout"]
        assert data.validation.items == ()
        assert len(data.train.items) == 3 * len(data.holdout.items) == 18


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(3, 12), min_size=2, max_size=4),
    sizes=st.lists(st.integers(1, 9), min_size=48, max_size=48),
    seed=st.integers(0, 1000),
    holdout=st.floats(0.05, 0.4),
    validation=st.floats(0.05, 0.4),
)
def test_no_group_is_divided_and_every_class_is_everywhere(groups, sizes, seed, holdout, validation):
    items, at = [], 0
    for label, count in enumerate(groups):
        for group in range(count):
            items += [item(f"{label}/{group}/{i}", label, f"{label}/{group}") for i in range(sizes[at])]
            at += 1
    labels = [f"c{i}" for i in range(len(groups))]
    data = make_data(items, labels, fractions=Fractions(holdout, validation), seed=seed)
    assert sorted(where(data)) == sorted(i.key for i in items)
    seen = defaultdict(set)
    for split in data.splits:
        assert split.counts(len(groups)).min() >= 1
        assert split.groups == len({i.group for i in split.items})
        for i in split.items:
            seen[i.group].add(split.name)
    assert all(len(names) == 1 for names in seen.values())


def test_fractions_are_met_per_class():
    data = make_data(crowd([100, 40, 20], size=1), ["a", "b", "c"], fractions=FRACTIONS, seed=3)
    assert data.holdout.counts(3).tolist() == [20, 8, 4]
    assert data.validation.counts(3).tolist() == [15, 6, 3]


def test_the_order_of_items_does_not_matter_and_the_seed_does():
    items = crowd([30, 30])
    one = make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)
    two = make_data(items[::-1], ["a", "b"], fractions=FRACTIONS, seed=1)
    other = make_data(items, ["a", "b"], fractions=FRACTIONS, seed=2)
    assert [s.sha256 for s in one.splits] == [s.sha256 for s in two.splits]
    assert one.holdout.sha256 != other.holdout.sha256


def test_one_more_group_moves_few_others():
    before = where(make_data(crowd([100, 100], 1), ["a", "b"], fractions=FRACTIONS, seed=1))
    after = where(make_data(crowd([100, 101], 1), ["a", "b"], fractions=FRACTIONS, seed=1))
    assert sum(before[key] != after[key] for key in before) <= 3


def test_fixed_splits_are_kept_count_and_take_their_group_along():
    items = [*crowd([20, 20], 1), item("x/0", 0, "x", split="holdout"), item("x/1", 0, "x")]
    data = make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)
    assert {"x/0", "x/1"} <= {i.key for i in data.holdout.items}
    assert data.holdout.counts(2).tolist() == [4, 4]


def test_what_is_pinned_to_training_does_not_make_the_holdout_larger():
    pinned = [item(f"drawn/{n}", 0, split="train") for n in range(500)]
    data = make_data([*crowd([20, 20], 1), *pinned], ["a", "b"], fractions=FRACTIONS, seed=1)
    assert data.holdout.counts(2).tolist() == [4, 4]
    assert data.validation.counts(2).tolist() == [3, 3]


def test_a_group_fixed_in_two_splits_is_refused():
    items = [*crowd([5, 5]), item("x/0", 0, "x", split="train"), item("x/1", 0, "x", split="holdout")]
    with pytest.raises(RecipeError, match=r"'x' is in two splits: x/0 in train, x/1 in holdout"):
        make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)


def test_identical_content_in_two_fixed_splits_is_refused():
    items = [
        *crowd([5, 5]),
        item("p", 0, content="same", split="train"),
        item("q", 0, content="same", split="holdout"),
    ]
    with pytest.raises(RecipeError, match=r"p \(train\) and q \(holdout\) have identical content"):
        make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)


def test_a_chain_of_identical_contents_over_fixed_splits_is_refused():
    """p and q share nothing directly, but both share with a group that may be drawn."""
    items = [
        *crowd([5, 5]),
        item("p", 0, "p", content="one", split="train"),
        item("m/0", 0, "m", content="one"),
        item("m/1", 0, "m", content="two"),
        item("q", 0, "q", content="two", split="holdout"),
    ]
    with pytest.raises(RecipeError, match=r"two splits"):
        make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)


def test_groups_that_share_a_frame_are_joined_and_it_is_said():
    items = [*crowd([10, 10]), item("y/0", 0, "y", content="same"), item("z/0", 1, "z", content="same")]
    data = make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1)
    assert where(data)["y/0"] == where(data)["z/0"]
    assert any("joined" in note for note in data.notes)
    assert any("another label" in note for note in data.notes)


def test_an_empty_class_is_named():
    with pytest.raises(RecipeError, match=r"class 'c' has no samples"):
        make_data(crowd([5, 5]), ["a", "b", "c"], fractions=FRACTIONS, seed=1)


def test_a_class_of_two_groups_cannot_fill_three_splits():
    with pytest.raises(RecipeError, match=r"class 'b' has no samples in the .* split") as caught:
        make_data(crowd([5, 2]), ["a", "b"], fractions=FRACTIONS, seed=1)
    assert "2 groups" in caught.value.hint


def test_a_class_missing_in_a_fixed_holdout_is_named():
    items = [item(f"{n}", n % 2, split="train") for n in range(8)] + [item("h", 0, split="holdout")]
    items += [item("v0", 0, split="validation"), item("v1", 1, split="validation")]
    with pytest.raises(RecipeError, match=r"class 'b' has no samples in the holdout split"):
        make_data(items, ["a", "b"], fractions=FRACTIONS, seed=1, draw=())


def test_a_key_that_two_patterns_match_is_refused():
    with pytest.raises(RecipeError, match=r"is named twice"):
        make_data([item("k", 0), item("k", 1, "other")], ["a", "b"], fractions=FRACTIONS, seed=1)


def test_a_calibration_split_is_drawn_where_it_is_wanted():
    fractions = Fractions(holdout=0.2, validation=0.15, calibration=0.1)
    data = make_data(crowd([100, 40], size=1), ["a", "b"], fractions=fractions, seed=3)
    assert [split.name for split in data.splits] == ["train", "validation", "calibration", "holdout"]
    assert data.calibration.counts(2).tolist() == [10, 4]
    assert data.holdout.counts(2).tolist() == [20, 8]
    assert len(where(data)) == 140


def test_without_a_calibration_split_the_others_are_what_they_were():
    one = make_data(crowd([30, 30]), ["a", "b"], fractions=FRACTIONS, seed=1)
    assert [split.name for split in one.splits] == ["train", "validation", "holdout"]
    assert not one.calibration.items
    fixed = [item("v", 0, split="calibration"), item("w", 1, split="calibration")]
    two = make_data([*crowd([30, 30]), *fixed], ["a", "b"], fractions=FRACTIONS, seed=1)
    assert [i.key for i in two.calibration.items] == ["v", "w"]


def test_a_calibration_split_that_lacks_a_class_is_refused():
    fixed = [item("v", 0, split="calibration")]
    with pytest.raises(RecipeError, match=r"class 'b' has no samples in the calibration split"):
        make_data([*crowd([10, 10]), *fixed], ["a", "b"], fractions=FRACTIONS, seed=1)
    fractions = Fractions(0.2, 0.15, 0.1)
    assert make_data(crowd([10, 4]), ["a", "b"], fractions=fractions, seed=1).calibration.groups == 2
    with pytest.raises(RecipeError, match=r"class 'b' has no samples in the .* split"):
        make_data(crowd([10, 3]), ["a", "b"], fractions=fractions, seed=1)


def test_frames_without_a_class_are_split_by_group_alone():
    labels = ["background", "nerve", "vessel"]
    data = make_data(crowd([40], size=2), labels, fractions=FRACTIONS, seed=1, labelled=False)
    assert data.labels == tuple(labels)
    assert [split.groups for split in data.splits] == [26, 6, 8]
    with pytest.raises(RecipeError, match=r"there are no samples in the .* split"):
        make_data(crowd([2]), labels, fractions=FRACTIONS, seed=1, labelled=False)
    with pytest.raises(RecipeError, match=r"no samples in the .* split") as caught:
        make_data(crowd([1]), ["frame"], fractions=FRACTIONS, seed=1, labelled=False)
    assert "1 group," in caught.value.hint
