"""Split a data set by seed and class; the splits are nested, and the same on every machine."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol, Self, TypeVar

import numpy as np

SPLITS = ("train", "val", "test")


class Splittable(Protocol):
    """A set of labelled samples, in memory or in files."""

    labels: Any  # (N,) integers

    def __len__(self) -> int: ...

    def keys(self) -> Sequence[str]:
        """Return what identifies each sample wherever the set is stored, such as relative paths."""
        ...

    def subset(self, indices: np.ndarray) -> Self:
        """Return a set of some of the samples."""
        ...


Set = TypeVar("Set", bound=Splittable)


def complete_splits(
    sets: Mapping[str, Set], *, test_fraction: float, val_fraction: float, seed: int
) -> dict[str, Set]:
    """Split off from "train" those of "val" and "test" that are missing in `sets`."""
    parts = split_by_class(
        np.asarray(sets["train"].labels),
        sets["train"].keys(),
        test_fraction=0 if "test" in sets else test_fraction,
        val_fraction=0 if "val" in sets else val_fraction,
        seed=seed,
    )
    own = {split: sets[split] for split in ("val", "test") if split in sets}
    return {split: sets["train"].subset(parts[split]) for split in SPLITS} | own


def split_by_class(
    labels: np.ndarray,
    keys: Sequence[str],
    *,
    test_fraction: float,
    val_fraction: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Split samples into train, val and test, class by class.

    The samples of a class are sorted by a hash of (seed, key). The first `test_fraction` of them
    are the test set, and the next `val_fraction` are the validation set. So the validation set at a
    small fraction is part of the one at a larger fraction, and few samples change sides when a
    class grows. A class keeps at least one sample for training. Then test and val, unless their
    fraction is 0, get at least one each if there are enough.

    Args:
        labels: (N,) class indices.
        keys: see `Splittable.keys`.
        test_fraction: share of each class for the test set.
        val_fraction: share of each class for the validation set.
        seed: seed of the split.

    Returns:
        {"train": indices, "val": indices, "test": indices}, each in ascending order.

    Raises:
        ValueError: the fractions are negative, or leave nothing for training.
    """
    if min(test_fraction, val_fraction) < 0 or test_fraction + val_fraction >= 1:
        raise ValueError(
            f"data.test_fraction={test_fraction} and data.val_fraction={val_fraction} must be 0 or "
            "more and add up to less than 1, to leave samples for training"
        )
    hashes = np.array([_hash(seed, key) for key in keys], dtype=np.uint64)
    order = np.lexsort((hashes, labels))
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for members in np.split(order, np.cumsum(np.bincount(labels))[:-1]):
        num_test, num_val = _split_sizes(len(members), test_fraction, val_fraction)
        test, val, train = np.split(members, [num_test, num_test + num_val])
        for split, part in (("train", train), ("val", val), ("test", test)):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def _split_sizes(size: int, test_fraction: float, val_fraction: float) -> tuple[int, int]:
    """Return how many of a class of `size` samples go to test and to val."""
    spare = max(size - 1, 0)  # at least one stays in train
    reserved = 1 if val_fraction > 0 and spare > 1 else 0
    num_test = min(_share(size, test_fraction), spare - reserved)
    return num_test, min(_share(size, val_fraction), spare - num_test)


def _share(size: int, fraction: float) -> int:
    return max(1, int(size * fraction + 0.5)) if fraction > 0 else 0


def _hash(seed: int, key: str) -> int:
    text = f"{seed}/{key}".encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
