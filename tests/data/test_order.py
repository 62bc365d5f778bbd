from itertools import product

import numpy as np
import pytest

from mobilenets.data.order import BatchOrder


def order(num_samples=10, batch_size=4, *, seed=0, shuffle=True, drop_last=True, **ranks):
    return BatchOrder(
        num_samples, batch_size, seed=seed, shuffle=shuffle, drop_last=drop_last, **ranks
    )


def batches(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [indices.tolist() for _, indices in sampler]


def samples(sampler):
    return [index for batch in batches(sampler) for index in batch]


def test_order_is_a_function_of_seed_and_epoch():
    sampler = order(1000)
    first = batches(sampler, 3)
    assert batches(sampler, 4) != first
    assert batches(sampler, 3) == first
    assert batches(order(1000), 3) == first
    assert batches(order(1000, seed=1), 3) != first


def test_epoch_travels_in_the_key():
    sampler = order()
    sampler.set_epoch(7)
    assert [epoch for epoch, _ in sampler] == [7, 7]
    assert [epoch for epoch, _ in order(shuffle=False)] == [-1, -1]


def test_order_does_not_depend_on_batch_size_or_world_size():
    flat = samples(order(96, 8))
    assert samples(order(96, 32)) == flat
    for world_size in (1, 2, 3):
        ranks = [
            batches(order(96, 4, rank=rank, world_size=world_size)) for rank in range(world_size)
        ]
        steps = zip(*ranks, strict=True)
        assert [index for step in steps for batch in step for index in batch] == flat


def test_training_drops_the_ragged_batch_unless_it_is_the_only_one():
    assert [len(batch) for batch in batches(order(10, 4))] == [4, 4]
    assert [len(batch) for batch in batches(order(3, 4))] == [3]
    assert [len(batches(order(7, 4, rank=rank, world_size=2))[0]) for rank in (0, 1)] == [3, 4]


def test_evaluation_runs_in_order_and_keeps_the_ragged_batch():
    assert batches(order(10, 4, shuffle=False, drop_last=False)) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_evaluation_covers_every_sample_once_in_equal_numbers_of_batches(world_size):
    for num_samples, batch_size in product(range(world_size, 70), (1, 2, 3, 8, 50)):
        samplers = [
            order(
                num_samples,
                batch_size,
                shuffle=False,
                drop_last=False,
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        ]
        ranks = [batches(sampler) for sampler in samplers]
        assert {len(rank) for rank in ranks} == {len(samplers[0])}
        seen = np.concatenate([batch for rank in ranks for batch in rank])
        assert sorted(seen) == list(range(num_samples))
        sizes = {len(batch) for rank in ranks for batch in rank}
        assert min(sizes) > 0
        # Single images can't be dealt out evenly in equal numbers of batches.
        assert max(sizes) <= batch_size + (batch_size == 1 and world_size > 1)


def test_every_rank_trains_on_the_same_number_of_batches():
    for num_samples, world_size in product(range(3, 60), (1, 2, 3)):
        lengths = [
            [len(b) for b in batches(order(num_samples, 4, rank=rank, world_size=world_size))]
            for rank in range(world_size)
        ]
        assert len({len(rank) for rank in lengths}) == 1
        if num_samples >= 4 * world_size:
            assert {size for rank in lengths for size in rank} == {4}


def test_an_epoch_can_start_in_its_middle_and_the_next_one_is_complete():
    whole, middle = order(40), order(40, epoch=2, start=7)
    assert len(middle) == len(whole), "the length of the epoch is unchanged"
    assert batches(middle, 2) == batches(whole, 2)[7:]
    assert batches(middle, 3) == batches(whole, 3)
    assert batches(order(40, epoch=2, start=10), 2) == []


def test_the_epoch_may_be_set_after_a_loader_has_taken_its_iterator():
    sampler = order(40)
    iterator = iter(sampler)
    sampler.set_epoch(5)
    assert [epoch for epoch, _ in iterator] == [5] * 10
