"""A loss that is not finite ends the run before it spoils the weights."""

import pytest
import torch

from mobilenets.training.fault_tolerance.nan_guard import StepStats


def stats(*values, names=("a", "b")):
    return StepStats(step=6, lr=0.25, names=list(names), values=torch.tensor(values))


def test_a_finite_step_has_no_problem():
    assert stats(0.5, 3.0, 4.0).describe_problem() is None


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ((float("nan"), 3.0, 4.0), ["loss nan", "gradient norm 5)"]),
        (
            (0.5, 3.0, float("inf")),
            ["loss 0.5", "gradient norm inf", "first non-finite gradient in b"],
        ),
    ],
)
def test_the_step_is_described(values, parts):
    sentence = stats(*values).describe_problem()
    for part in ["step 7 is not finite", "learning rate 0.25", "lower optimizer.lr", *parts]:
        assert part in sentence
