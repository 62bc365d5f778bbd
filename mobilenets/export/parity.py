"""Parity: whether an exported file computes what the net computes in PyTorch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from mobilenets.export.exportable import Runner

MIN_AGREEMENT = 0.999  # share of the images on which a float file must have PyTorch's top-1


class Example(NamedTuple):
    """A batch of images, and the same as inputs of an exported file."""

    images: Tensor  # (N, C, H, W), normalised: what the net in PyTorch takes
    inputs: Tensor  # the same, or uint8 (N, H, W, C) for a file with preprocessing
    labels: Tensor | None  # (N,) int64, if known


@dataclass(frozen=True)
class Parity:
    """A comparison of an exported file with the net in PyTorch.

    Attributes:
        images: number of images compared.
        largest_difference: between two logits.
        agreement: share of the images with the same top-1 prediction.
        accuracy: top-1 of the file, from 0 to 1; None without labels.
        accuracy_pytorch: top-1 of the net in PyTorch.
    """

    images: int
    largest_difference: float
    agreement: float
    accuracy: float | None
    accuracy_pytorch: float | None

    @property
    def drop(self) -> float:
        """Points of top-1 that the file loses; without labels, % of predictions that differ."""
        if self.accuracy is None or self.accuracy_pytorch is None:
            return round(100 * (1 - self.agreement), 6)
        return round(100 * (self.accuracy_pytorch - self.accuracy), 6)

    def why_rejected(self, int8: bool, max_drop: float) -> str | None:
        """Return why the file must be rejected; None if it is accepted."""
        if not math.isfinite(self.largest_difference):
            return "its logits are not finite"
        if int8 and self.drop > max_drop:
            return f"it loses {self.drop:.2f} points, more than max_drop={max_drop:g}"
        if not int8 and self.agreement < MIN_AGREEMENT:
            return (
                f"it agrees with PyTorch on {self.agreement:.2%} of {self.images:,} images, less "
                f"than {MIN_AGREEMENT:.1%}"
            )
        return None


def compare_logits(
    reference: Runner, runners: Mapping[str, Runner], examples: Iterable[Example]
) -> dict[str, Parity]:
    """Run the net in PyTorch and every file on the same images; return each file's parity."""
    counters = {name: _Counter() for name in runners}
    for example in examples:
        expected = reference(example.images)
        for name, runner in runners.items():
            counters[name].update(expected, runner(example.inputs), example.labels)
    return {name: counter.compute() for name, counter in counters.items()}


class _Counter:
    """Counts of one file's predictions, summed over batches."""

    def __init__(self) -> None:
        self.images = self.agreeing = self.labelled = self.correct = self.correct_pytorch = 0
        self.largest = 0.0

    def update(self, expected: Tensor, logits: Tensor, labels: Tensor | None) -> None:
        difference = float((logits - expected).abs().max())
        self.largest = max(self.largest, difference if math.isfinite(difference) else math.inf)
        predicted, predicted_pytorch = logits.argmax(1), expected.argmax(1)
        self.images += len(expected)
        self.agreeing += int((predicted == predicted_pytorch).sum())
        if labels is not None:
            self.labelled += len(labels)
            self.correct += int((predicted == labels).sum())
            self.correct_pytorch += int((predicted_pytorch == labels).sum())

    def compute(self) -> Parity:
        accuracies: list[float | None] = [None, None]
        if self.labelled:
            accuracies = [n / self.labelled for n in (self.correct, self.correct_pytorch)]
        return Parity(self.images, self.largest, self.agreeing / self.images, *accuracies)
