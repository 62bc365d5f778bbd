"""The order of samples, cut into batches."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler

from mobilenets.data.batch import BatchKey


class BatchOrder(Sampler[BatchKey]):
    """A sampler that yields the keys (epoch, indices) of this rank's batches.

    Use it as `DataLoader(dataset, sampler=BatchOrder(...), batch_size=None)`. The epoch is part of
    the key, so it reaches workers that persist from epoch to epoch.

    In training (`shuffle`) the order is a permutation drawn from (seed, epoch). It is cut into
    global batches of batch_size * world_size samples, and each rank takes its slice of every global
    batch, so the order is the same for any world size. In evaluation the order is 0, 1, 2, ... and
    the epoch is -1. A ragged last global batch is divided evenly: together the ranks see every
    sample exactly once, in equal numbers of batches, none of them empty unless there are fewer
    samples than ranks.

    Args:
        num_samples: size of the data set.
        batch_size: samples per batch and rank.
        seed: seed of the run.
        shuffle: True in training.
        drop_last: drop a ragged last global batch, unless it is the only one.
        rank: rank of this process.
        world_size: number of processes.
        epoch: epoch of the first iteration.
        start: first batch of that epoch, for a run that is resumed in mid-epoch.
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
        """Set the epoch of the next iteration; a new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[BatchKey]:
        # Generators run late: without workers, Lightning calls iter() before set_epoch().
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
    """Return the bounds of global batches of `size` samples, from 0 to the end of the last."""
    full, rest = divmod(num_samples, size)
    bounds = [size * k for k in range(full + 1)]
    if rest == 0 or (drop_last and full > 0):
        return bounds
    if rest >= world_size or full == 0:
        return [*bounds, num_samples]
    if size >= 2 * world_size:  # move a few samples to the last batch, so that every rank has one
        return [*bounds[:-1], num_samples - world_size, num_samples]
    return [*bounds[:-1], num_samples]  # batch_size 1: some ranks take two samples at the end
