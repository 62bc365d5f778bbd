"""Which samples make up which batch."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler

from mobilenets.data.batch import BatchKey


class BatchOrder(Sampler[BatchKey]):
    """The keys (epoch, indices) of this rank's batches, one whole batch at a time.

    For `DataLoader(dataset, sampler=BatchOrder(...), batch_size=None)`: the epoch travels inside
    the key, so it reaches workers that live on from epoch to epoch.

    In training (`shuffle`) the order is a permutation drawn from (seed, epoch). It is cut into
    global batches of batch_size * world_size, and each rank takes its slice of every global batch:
    the order is the same for any world size. In evaluation the order is 0, 1, 2, ... and the epoch
    -1. A ragged last global batch is dealt out evenly; together the ranks see every sample exactly
    once, in equal numbers of batches, none of them empty unless there are fewer samples than
    ranks.

    Args:
        num_samples: The size of the set.
        batch_size: Samples per batch and rank.
        seed: The seed of the run.
        shuffle: Whether this is the order of training.
        drop_last: Leave the ragged last global batch out, unless it is the only one.
        rank: This process's rank.
        world_size: The number of processes.
        epoch: The epoch of the first iteration.
        start: The batch with which that epoch begins, for a run that goes on in its middle.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        start: int = 0,
    ):
        assert 0 <= rank < world_size
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = epoch
        self.start = start
        self.bounds = _global_bounds(num_samples, batch_size * world_size, world_size, drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs through, from its first batch if new."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[BatchKey]:
        # A generator: a loader without workers is iterated before it is told the epoch.
        epoch = self.epoch if self.shuffle else -1
        order = np.arange(self.num_samples)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
        for start, end in pairwise(self.bounds[self.start :]):
            size = end - start
            first = start + size * self.rank // self.world_size
            last = start + size * (self.rank + 1) // self.world_size
            yield epoch, order[first:last]


def _global_bounds(num_samples: int, size: int, world_size: int, drop_last: bool) -> list[int]:
    """Cut 0..num_samples into global batches of `size`; returns their bounds, 0 first."""
    full, rest = divmod(num_samples, size)
    bounds = [size * k for k in range(full + 1)]
    if rest == 0 or (drop_last and full > 0):
        return bounds
    if rest >= world_size or full == 0:
        return [*bounds, num_samples]
    if (
        size >= 2 * world_size
    ):  # the last but one gives up a few, so that no rank has an empty batch
        return [*bounds[:-1], num_samples - world_size, num_samples]
    return [*bounds[:-1], num_samples]  # batch_size 1: a few ranks take two in the last batch
