"""What passes and what is refused, and that the figures are right."""

import pytest
import torch

from mobilenets.export import Example, Parity
from mobilenets.export.layer_snr import NoiseMeter
from mobilenets.export.parity import compare
from mobilenets.predict.latency import measure_latencies


def logits(*predictions):
    return torch.eye(4)[torch.tensor(predictions)]


def test_the_figures_are_counted_over_all_images():
    answers = {0.0: logits(0, 1, 2), 1.0: logits(3)}
    wrong = {0.0: logits(0, 1, 3), 1.0: logits(3) * 0.5}
    examples = [
        Example(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([0, 0, 2])),
        Example(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([3])),
    ]
    runners = {"file": lambda x: wrong[float(x)], "same": lambda x: answers[float(x)]}
    found = compare(lambda x: answers[float(x)], runners, examples)
    assert found["file"] == Parity(4, 1.0, 0.75, 0.5, 0.75)
    assert found["same"] == Parity(4, 0.0, 1.0, 0.75, 0.75)
    assert found["file"].drop == 25


@pytest.mark.parametrize(
    ("parity", "int8", "sentence"),
    [
        (Parity(1000, 0.1, 0.999, 0.5, 0.5), False, None),
        (Parity(1000, 0.1, 0.998, 0.5, 0.5), False, "agrees with PyTorch on 99.80% of 1,000"),
        (Parity(1000, 0.1, 0.9, 0.49, 0.5), True, None),
        (Parity(1000, 0.1, 0.9, 0.489, 0.5), True, "loses 1.10 points, and max_drop=1 are"),
        (Parity(1000, 0.1, 0.98, None, None), True, "loses 2.00 points"),
        (Parity(1000, float("inf"), 1.0, 0.5, 0.5), False, "not finite"),
    ],
)
def test_a_file_is_refused_for_a_reason(parity, int8, sentence):
    reason = parity.refusal(int8, max_drop=1.0)
    assert (reason is None) if sentence is None else (sentence in reason)


def test_a_logit_that_is_no_number_is_no_small_difference():
    example = Example(torch.zeros(1), torch.zeros(1), None)
    found = compare(lambda _: logits(0), {"file": lambda _: logits(0) * float("nan")}, [example])
    assert found["file"].refusal(False, 1.0)


def test_latency_is_measured_at_both_sizes_of_batch():
    sizes = []

    def run(images):
        sizes.append(len(images))

    found = measure_latencies(
        {"one": (run, torch.zeros(1, 2)), "two": (run, torch.zeros(1, 2, 2, 3))}
    )
    assert set(sizes) == {1, 32}
    assert all(figures.median <= figures.p95 for figures in found["two"].values())


def test_noise_is_measured_in_decibels():
    meter = NoiseMeter()
    for _ in range(2):
        meter.add("a", torch.full((10,), 1.0), torch.full((10,), 1.1))
    meter.add("b", torch.ones(3), torch.ones(3))
    (a, b) = meter.layers()
    assert a.decibels == pytest.approx(20, abs=0.01)
    assert b.decibels == float("inf")
