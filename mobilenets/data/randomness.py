"""Random numbers that are counted, not kept: a pure function of (seed, epoch, sample, draw).

Nothing depends on what was drawn before, on the number of workers or on the device. The generator
is splitmix64: state + n * golden ratio, finalised; its outputs serve as the states of finer
streams (seed -> epoch -> sample -> draw).

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
"""Arrays of int64, whose operators are the same in torch and NumPy."""


def counter_hash(*counters: int) -> int:
    """Hash a chain of integers, such as (seed, epoch, index), to 64 bits."""
    state = 0
    for counter in counters:
        state = _finalise((state + (counter + 1) * _GOLDEN) & _WORD)
    return state


def uniform(seed: int, epoch: int, indices: Tensor, draws: int) -> Tensor:
    """Draw `draws` numbers for each sample, uniform in [0, 1).

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        indices: (N,) int64, the samples. The result lies on their device.
        draws: How many numbers each sample needs.

    Returns:
        (N, draws) float32, the same to the bit on every device, whatever else is in the batch.
    """
    counters = torch.arange(1, draws + 1, device=indices.device)
    state = _signed(counter_hash(seed, epoch))
    if indices.device.type == "cpu":  # as many as a batch has, NumPy draws twice as fast
        bits = torch.from_numpy(_draw(state, indices.numpy(), counters.numpy()))
    else:
        bits = _draw(state, indices, counters)
    # A float32 holds 24 bits exactly, so neither this conversion nor the product rounds.
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


@contextmanager
def counted_rng(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Let torch's CPU generator draw from (seed, epoch, index) inside, and go on as before after.

    For transforms that can't be told where to draw from (all of torchvision.transforms.v2 draw from
    torch's default generator). The generators of accelerators are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would reseed the accelerators, too.
        torch.default_generator.manual_seed(counter_hash(seed, epoch, index))
        yield


def _finalise(word: int) -> int:
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        word = ((word ^ (word >> shift)) * multiplier) & _WORD
    return word ^ (word >> _SHIFTS[-1])


def _draw(state: int, indices: Words, counters: Words) -> Words:
    """(N,) samples, (D,) counters from 1 -> (N, D) words."""
    samples = _finalise_words((indices + 1) * _signed(_GOLDEN) + state)
    return _finalise_words(samples[:, None] + counters * _signed(_GOLDEN))


def _finalise_words(words: Words) -> Words:
    """Do the same for arrays, whose products wrap around at 64 bits as unsigned ones do."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        words = (words ^ _shift_right(words, shift)) * _signed(multiplier)
    return words ^ _shift_right(words, _SHIFTS[-1])


def _shift_right(words: Words, bits: int) -> Words:
    """Shift logically: int64's own shift repeats the sign bit."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
