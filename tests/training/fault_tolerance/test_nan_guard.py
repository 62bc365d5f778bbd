"""A loss that is not finite ends the run before it spoils the weights."""

import pytest
import torch

from mobilenets.training.fault_tolerance.nan_guard import StepStats


def figures(*values, names=("a", "b")):
    return StepStats(step=6, lr=0.25, names=list(names), values=torch.tensor(values))


def test_a_finite_step_has_nothing_to_say():
    assert figures(0.5, 3.0, 4.0).diverged() is None


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ((float("nan"), 3.0, 4.0), ["loss nan", "gradient norm 5)"]),
        (
            (0.5, 3.0, float("inf")),
            ["loss 0.5", "gradient norm inf", "the first bad gradient that of b"],
        ),
    ],
)
def test_the_step_is_described(values, parts):
    sentence = figures(*values).diverged()
    for part in ["step 7 is not finite", "learning rate 0.25", "lower optimizer.lr", *parts]:
        assert part in sentence
