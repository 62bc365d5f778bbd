from itertools import pairwise

import numpy as np
import pytest

from mobilenets.data.splits import complete_splits, split_by_class


def split(labels, *, test=0.2, val=0.1, seed=0, keys=None):
    keys = [str(index) for index in range(len(labels))] if keys is None else keys
    return split_by_class(np.array(labels), keys, test_fraction=test, val_fraction=val, seed=seed)


LABELS = np.repeat([0, 1, 2], [100, 50, 30])


def test_every_sample_is_in_one_split_and_every_class_in_proportion():
    parts = split(LABELS)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(180))
    assert np.bincount(LABELS[parts["test"]]).tolist() == [20, 10, 6]
    assert np.bincount(LABELS[parts["val"]]).tolist() == [10, 5, 3]
    assert all((np.diff(part) > 0).all() for part in parts.values())


def test_the_seed_decides():
    parts = split(LABELS)
    assert split(LABELS)["val"].tolist() == parts["val"].tolist()
    assert split(LABELS, seed=1)["val"].tolist() != parts["val"].tolist()


def test_the_split_is_the_same_on_every_machine():
    parts = split([0] * 20)
    assert parts["test"].tolist() == [0, 14, 15, 17]
    assert parts["val"].tolist() == [6, 10]


def test_validation_sets_are_nested_and_leave_the_test_set_alone():
    fractions = [0.01, 0.05, 0.1, 0.11, 0.3, 0.7]
    parts = [split(LABELS, val=fraction) for fraction in fractions]
    for small, large in pairwise(parts):
        assert set(small["val"]) <= set(large["val"])
        assert small["test"].tolist() == large["test"].tolist()
    assert split(LABELS, val=0)["val"].size == 0


def test_adding_files_moves_few():
    keys = [f"cat/{number}.jpg" for number in range(1000)]
    more = keys + [f"cat/new{number}.jpg" for number in range(20)]
    before = split([0] * 1000, keys=keys)
    after = split([0] * 1020, keys=more)
    for name in ("test", "val"):
        kept = {more[i] for i in after[name]} & {keys[i] for i in before[name]}
        assert len(kept) >= 0.9 * len(before[name])


def test_order_of_the_samples_does_not_matter():
    keys = [f"{index}.jpg" for index in range(180)]
    shuffled = np.random.default_rng(0).permutation(180)
    parts = split(LABELS, keys=keys)
    again = split(LABELS[shuffled], keys=[keys[index] for index in shuffled])
    for name in parts:
        assert {keys[i] for i in parts[name]} == {keys[i] for i in shuffled[again[name]]}


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (0, (0, 0, 0))],
)
def test_small_classes_keep_one_for_training_then_for_test_then_for_val(size, expected):
    labels = [0] * size + [1] * 50
    parts = split(labels, test=0.01, val=0.01)
    assert tuple((part < size).sum() for part in parts.values()) == expected


def test_large_fractions_leave_one_for_training():
    parts = split([0] * 4, test=0.5, val=0.45)
    assert [len(part) for part in parts.values()] == [1, 1, 2]


@pytest.mark.parametrize(("test", "val"), [(0.5, 0.5), (1.0, 0.0), (-0.1, 0.2)])
def test_impossible_fractions_are_refused(test, val):
    with pytest.raises(ValueError, match=r"data.test_fraction=.* add up to less than 1"):
        split(LABELS, test=test, val=val)


class Numbers:
    def __init__(self, labels):
        self.labels = np.array(labels)

    def __len__(self):
        return len(self.labels)

    def keys(self):
        return [str(index) for index in range(len(self))]

    def subset(self, indices):
        return Numbers(self.labels[indices])


@pytest.mark.parametrize(
    ("own", "sizes"),
    [
        ({}, (70, 10, 20)),
        ({"test": 7}, (90, 10, 7)),
        ({"val": 5}, (80, 5, 20)),
        ({"val": 5, "test": 7}, (100, 5, 7)),
    ],
)
def test_only_what_is_missing_is_split_off(own, sizes):
    sets = {"train": Numbers([0] * 50 + [1] * 50)}
    sets |= {name: Numbers([0] * size) for name, size in own.items()}
    done = complete_splits(sets, test_fraction=0.2, val_fraction=0.1, seed=0)
    assert list(done) == ["train", "val", "test"]
    assert tuple(len(part) for part in done.values()) == sizes
