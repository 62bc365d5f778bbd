"""Latencies: what is timed, and in which unit."""

import pytest
import torch

from mobilenets.predict.latency import measure_latencies, summarize, time_calls


def test_calls_take_turns_and_warm_up_first():
    made = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    seconds = time_calls(calls, rounds=2, warmup=1)
    assert made == ["a", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_untimed_calls_come_before_each_timed_one():
    made = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    seconds = time_calls(calls, rounds=2, warmup=0, untimed_calls=1)
    assert made == ["a", "a", "b", "b"] * 2
    assert len(seconds["a"]) == 2


def test_latencies_are_in_milliseconds():
    latency = summarize([n / 1000 for n in range(1, 102)])
    assert latency.median == pytest.approx(51)
    assert latency.p95 == pytest.approx(96)


def test_latency_is_measured_at_both_batch_sizes():
    sizes = []

    def run(images):
        sizes.append(len(images))

    latencies = measure_latencies(
        {"one": (run, torch.zeros(1, 2)), "two": (run, torch.zeros(1, 2, 2, 3))}
    )
    assert set(sizes) == {1, 32}
    assert all(latency.median <= latency.p95 for latency in latencies["two"].values())
