"""The schedules against the formulas of their sources."""

import math
from itertools import pairwise

import pytest
import yaml

from mobilenets.config.compose import CONFIGS
from mobilenets.training import SCHEDULES, Schedule


def test_cosine_starts_at_one_ends_at_the_final_factor_and_halves_in_the_middle():
    schedule = Schedule("cosine", final_factor=0.1)
    assert schedule(0, 20) == 1.0
    assert schedule(10, 20) == pytest.approx(0.55)
    assert schedule(20, 20) == pytest.approx(0.1)


def test_step_falls_every_step_epochs_or_at_the_milestones():
    every = Schedule("step", gamma=0.1, step_epochs=2.5)
    assert [every(e, 10) for e in (0, 2.49, 2.5, 5.0)] == pytest.approx([1, 1, 0.1, 0.01])
    at = Schedule("step", gamma=0.5, step_epochs=1, milestones=[3, 7])
    assert [at(e, 10) for e in (0, 2.9, 3, 6.9, 7)] == [1, 1, 0.5, 0.5, 0.25]


def test_exponential_is_the_v2_papers_098_an_epoch():
    smooth = Schedule("exponential", gamma=0.98, decay_epochs=1)
    assert smooth(10, 300) == pytest.approx(0.98**10)
    assert smooth(10.5, 300) == pytest.approx(0.98**10.5)
    staircase = Schedule("exponential", gamma=0.98, decay_epochs=1, interval="epoch")
    assert staircase(10.5, 300) == pytest.approx(0.98**10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_linearly_from_the_first_step_and_meets_the_decay(name):
    values = yaml.safe_load((CONFIGS / "schedule" / f"{name}.yaml").read_text())
    values["interval"] = "step"
    schedule, decay = (Schedule(**values | {"warmup_epochs": epochs}) for epochs in (2, 0))
    batch = 1 / 10
    factors = [schedule(k * batch, 1e6, batch) / decay(k * batch, 1e6) for k in range(25)]
    rises = [b - a for a, b in pairwise(factors[:21])]
    assert factors[0] > 0, "a first step at rate 0 learns nothing"
    assert rises == pytest.approx([rises[0]] * 20)
    assert factors[20:] == pytest.approx([1.0] * 5)


def test_by_epoch_the_rate_is_constant_within_an_epoch():
    schedule = Schedule("cosine", warmup_epochs=2, interval="epoch")
    assert schedule(0.0, 10, 0.1) == schedule(0.9, 10, 0.1) == pytest.approx(1 / 3)
    cosine = 0.5 * (1 + math.cos(math.pi * 0.4))
    assert schedule(4.0, 10, 0.1) == schedule(4.7, 10, 0.1) == pytest.approx(cosine)
