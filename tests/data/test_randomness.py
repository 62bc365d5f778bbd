import numpy as np
import pytest
import torch

from mobilenets.data.randomness import _draw, _mix, counter_rng, draw_uniform, hash_counters

GOLDEN = 0x9E3779B97F4A7C15


def test_the_finaliser_gives_the_published_sequence_of_splitmix64():
    outputs = [_mix((1234567 + k * GOLDEN) % 2**64) for k in (1, 2, 3, 4, 5)]
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_tensor_arithmetic_equals_that_of_exact_integers():
    indices = torch.tensor([0, 1, 7, 2**40])
    drawn = draw_uniform(3, 5, indices, 4)
    expected = [
        [(hash_counters(3, 5, index, draw) >> 40) / 2**24 for draw in range(4)]
        for index in indices.tolist()
    ]
    assert drawn.dtype == torch.float32
    assert drawn.tolist() == expected


def test_torch_and_numpy_draw_the_same_words():
    indices, counters = torch.arange(-1000, 100_000), torch.arange(1, 10)
    words = _draw(-(2**63) + 5, indices, counters)
    assert words.shape == (101_000, 9) and words.dtype == torch.int64
    assert np.array_equal(words, _draw(-(2**63) + 5, indices.numpy(), counters.numpy()))


def test_draws_are_uniform():
    drawn = draw_uniform(0, 0, torch.arange(100_000), 10)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 100_000) ** 0.5
    for column in drawn.unbind(1):
        counts = torch.histc(column, 100, 0, 1)
        chi_squared = ((counts - 1000) ** 2 / 1000).sum()
        assert 50 < chi_squared < 160  # 99 degrees of freedom: 45 to 165 in all but 1 of 10,000


@pytest.mark.parametrize("other", ["draw", "index", "epoch", "seed", "seed and epoch swapped"])
def test_neighbours_are_independent(other):
    number = 100_000
    indices = torch.arange(number)
    first, second = {
        "draw": draw_uniform(1, 2, indices, 2).unbind(1),
        "index": (draw_uniform(1, 2, indices, 1), draw_uniform(1, 2, indices + 1, 1)),
        "epoch": (draw_uniform(1, 2, indices, 1), draw_uniform(1, 3, indices, 1)),
        "seed": (draw_uniform(1, 2, indices, 1), draw_uniform(2, 2, indices, 1)),
        "seed and epoch swapped": (draw_uniform(1, 2, indices, 1), draw_uniform(2, 1, indices, 1)),
    }[other]
    both = torch.stack([first.flatten(), second.flatten()])
    assert torch.corrcoef(both)[0, 1].abs() < 5 / number**0.5
    cells = torch.histogramdd(both.T.contiguous(), [10, 10], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert ((cells - number / 100) ** 2 / (number / 100)).sum() < 160


def test_draws_do_not_depend_on_the_batch():
    whole = draw_uniform(0, 1, torch.arange(100), 6)
    assert torch.equal(draw_uniform(0, 1, torch.tensor([97, 3]), 6), whole[[97, 3]])
    assert torch.equal(draw_uniform(0, 1, torch.arange(100), 2), whole[:, :2])


def test_scaling_the_largest_draw_to_places_never_reaches_the_next_place():
    largest = torch.tensor(1 - 2.0**-24)
    assert all((largest * places).long() == places - 1 for places in range(1, 2000))


def test_counter_rng_depends_on_its_counters_only_and_restores_the_state():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    with counter_rng(0, 1, 2):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(17)
    with counter_rng(0, 1, 2):
        assert torch.equal(torch.rand(3), first)
    with counter_rng(0, 1, 3):
        assert not torch.equal(torch.rand(3), first)


def test_hashes_of_many_counters_are_distinct():
    hashes = {hash_counters(*counters) for counters in np.ndindex(10, 20, 50)}
    assert len(hashes) == 10_000
