import pytest

from mobilenets.predict.latency import latencies, summary


def test_calls_take_turns_and_warm_up_first():
    made = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    seconds = latencies(calls, rounds=2, warmup=1)
    assert made == ["a", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_calls_that_settle_the_caches_are_made_before_each_and_do_not_count():
    made = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    seconds = latencies(calls, rounds=2, warmup=0, settle=1)
    assert made == ["a", "a", "b", "b"] * 2
    assert len(seconds["a"]) == 2


def test_summary_is_in_milliseconds():
    latency = summary([n / 1000 for n in range(1, 102)])
    assert latency.median == pytest.approx(51)
    assert latency.p95 == pytest.approx(96)
