"""Parity: its metrics, and which files are rejected."""

import pytest
import torch

from mobilenets.export import Example, Parity
from mobilenets.export.layer_snr import SNRMeter
from mobilenets.export.parity import compare_logits


def logits(*predictions):
    return torch.eye(4)[torch.tensor(predictions)]


def test_metrics_are_computed_over_all_images():
    answers = {0.0: logits(0, 1, 2), 1.0: logits(3)}
    wrong = {0.0: logits(0, 1, 3), 1.0: logits(3) * 0.5}
    examples = [
        Example(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([0, 0, 2])),
        Example(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([3])),
    ]
    runners = {"file": lambda x: wrong[float(x)], "same": lambda x: answers[float(x)]}
    found = compare_logits(lambda x: answers[float(x)], runners, examples)
    assert found["file"] == Parity(4, 1.0, 0.75, 0.5, 0.75)
    assert found["same"] == Parity(4, 0.0, 1.0, 0.75, 0.75)
    assert found["file"].drop == 25


@pytest.mark.parametrize(
    ("parity", "int8", "sentence"),
    [
        (Parity(1000, 0.1, 0.999, 0.5, 0.5), False, None),
        (Parity(1000, 0.1, 0.998, 0.5, 0.5), False, "agrees with PyTorch on 99.80% of 1,000"),
        (Parity(1000, 0.1, 0.9, 0.49, 0.5), True, None),
        (Parity(1000, 0.1, 0.9, 0.489, 0.5), True, "loses 1.10 points, more than max_drop=1"),
        (Parity(1000, 0.1, 0.98, None, None), True, "loses 2.00 points"),
        (Parity(1000, float("inf"), 1.0, 0.5, 0.5), False, "not finite"),
    ],
)
def test_a_file_is_rejected_for_a_reason(parity, int8, sentence):
    reason = parity.why_rejected(int8, max_drop=1.0)
    assert (reason is None) if sentence is None else (sentence in reason)


def test_a_file_with_a_nan_is_rejected():
    example = Example(torch.zeros(1), torch.zeros(1), None)
    found = compare_logits(
        lambda _: logits(0), {"file": lambda _: logits(0) * float("nan")}, [example]
    )
    assert found["file"].why_rejected(False, 1.0)


def test_snr_is_measured_in_decibels():
    meter = SNRMeter()
    for _ in range(2):
        meter.update("a", torch.full((10,), 1.0), torch.full((10,), 1.1))
    meter.update("b", torch.ones(3), torch.ones(3))
    (a, b) = meter.compute()
    assert a.decibels == pytest.approx(20, abs=0.01)
    assert b.decibels == float("inf")
