"""Latencies of several calls, measured in turns, so that other load on the machine affects all."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

from torch import Tensor

BATCH_SIZES = {1: 50, 32: 10}  # batch size -> number of timed calls


class Latency(NamedTuple):
    """The latency of a call in milliseconds."""

    median: float
    p95: float


def time_calls(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    warmup: int = 3,
    untimed_calls: int = 0,
) -> dict[str, list[float]]:
    """Return the seconds that each call takes in each round.

    Args:
        calls: name -> call.
        rounds: timed rounds; each makes every call once.
        warmup: rounds before these that are not timed.
        untimed_calls: repetitions of a call right before it is timed, so that the caches of the
            processor hold its data and not that of the other calls.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            for _ in range(untimed_calls):
                call()
            start = perf_counter()
            call()
            if turn >= warmup:
                seconds[name].append(perf_counter() - start)
    return seconds


def summarize(seconds: Sequence[float]) -> Latency:
    """Return the median and the 95th percentile of at least two measurements."""
    return Latency(1e3 * median(seconds), 1e3 * quantiles(seconds, n=20, method="inclusive")[-1])


def measure_latencies(
    runners: Mapping[str, tuple[Callable[[Tensor], Tensor], Tensor]],
) -> dict[str, dict[int, Latency]]:
    """Measure the latency of each runner at each of `BATCH_SIZES`.

    Args:
        runners: name -> a runner, and an input that holds one image; batches repeat it.

    Returns:
        Name -> batch size -> latency.
    """
    latencies: dict[str, dict[int, Latency]] = {name: {} for name in runners}
    for size, rounds in BATCH_SIZES.items():
        calls = {
            name: partial(runner, image.repeat(size, *[1] * (image.dim() - 1)))
            for name, (runner, image) in runners.items()
        }
        for name, seconds in time_calls(calls, rounds, untimed_calls=1).items():
            latencies[name][size] = summarize(seconds)
    return latencies
