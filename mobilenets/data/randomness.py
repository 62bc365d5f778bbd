"""Counter-based random numbers: pure functions of (seed, epoch, sample, draw).

They depend neither on earlier draws nor on the number of workers or the device. The generator is
splitmix64, which hashes state + n * golden ratio. Each output serves as the state of a finer stream
(seed -> epoch -> sample -> draw).

Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, Fig.
18.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)

Words = TypeVar("Words", Tensor, np.ndarray)
"""An int64 array of torch or NumPy, whose operators are the same."""


def hash_counters(*counters: int) -> int:
    """Hash a sequence of integers, such as (seed, epoch, index), to 64 bits."""
    state = 0
    for counter in counters:
        state = _mix((state + (counter + 1) * _GOLDEN) & _WORD)
    return state


def draw_uniform(seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """Draw `draws` numbers for each sample, uniform in [0, 1).

    Args:
        seed: seed of the run.
        epoch: epoch of training.
        indices: (N,) int64, the samples. The result is on their device.
        draws: how many numbers to draw for each sample.

    Returns:
        (N, draws) float32, the same to the bit on every device and in every batch.
    """
    counters = torch.arange(1, draws + 1, device=indices.device)
    state = _signed(hash_counters(seed, epoch))
    if indices.device.type == "cpu":  # for the size of a batch, NumPy is twice as fast
        bits = torch.from_numpy(_draw(state, indices.numpy(), counters.numpy()))
    else:
        bits = _draw(state, indices, counters)
    # A float32 holds 24 bits exactly, so neither the conversion nor the product rounds.
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


@contextmanager
def counter_rng(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed torch's CPU generator with (seed, epoch, index), and restore its state afterwards.

    This serves torchvision.transforms.v2, which take no generator and draw from torch's default
    one. The generators of accelerators keep their states.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators too.
        torch.default_generator.manual_seed(hash_counters(seed, epoch, index))
        yield


def _mix(word: int) -> int:
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        word = ((word ^ (word >> shift)) * multiplier) & _WORD
    return word ^ (word >> _SHIFTS[-1])


def _draw(state: int, indices: Words, counters: Words) -> Words:
    """Draw words: (N,) samples, (D,) counters from 1 -> (N, D)."""
    samples = _mix_words((indices + 1) * _signed(_GOLDEN) + state)
    return _mix_words(samples[:, None] + counters * _signed(_GOLDEN))


def _mix_words(words: Words) -> Words:
    """Return `_mix` of every element: int64 products wrap around at 64 bits as unsigned ones do."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        words = (words ^ _shift_right(words, shift)) * _signed(multiplier)
    return words ^ _shift_right(words, _SHIFTS[-1])


def _shift_right(words: Words, bits: int) -> Words:
    """Shift right logically; int64's own shift repeats the sign bit."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
