"""How long calls take, measured in turns, so that what else the machine does hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

from torch import Tensor

BATCH_SIZES = {1: 50, 32: 10}  # images in a call -> calls that are measured


class Latency(NamedTuple):
    """Of one call, in milliseconds."""

    median: float
    p95: float


def latencies(
    calls: Mapping[str, Callable[[], object]], rounds: int = 30, warmup: int = 3, settle: int = 0
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after `warmup` rounds that don't count.

    Args:
        settle: how often a call is made just before it is measured, so that the caches of the
            processor hold what it needs, not what the others left there.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            for _ in range(settle):
                call()
            start = perf_counter()
            call()
            if turn >= warmup:
                seconds[name].append(perf_counter() - start)
    return seconds


def summary(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile of at least two measurements."""
    return Latency(1e3 * median(seconds), 1e3 * quantiles(seconds, n=20, method="inclusive")[-1])


def measure_latencies(
    runners: Mapping[str, tuple[Callable[[Tensor], Tensor], Tensor]],
) -> dict[str, dict[int, Latency]]:
    """Measure runners in turns, each on copies of its own image, for each of `BATCH_SIZES`.

    Args:
        runners: name -> a runner, and an input of it that holds one image.

    Returns:
        Name -> batch size -> latency.
    """
    measured: dict[str, dict[int, Latency]] = {name: {} for name in runners}
    for size, rounds in BATCH_SIZES.items():
        calls = {
            name: partial(runner, image.repeat(size, *[1] * (image.dim() - 1)))
            for name, (runner, image) in runners.items()
        }
        for name, seconds in latencies(calls, rounds, settle=1).items():
            measured[name][size] = summary(seconds)
    return measured
