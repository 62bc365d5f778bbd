"""How long calls take, measured in turns, so that what else the machine does hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple


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
