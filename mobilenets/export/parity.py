"""Proof that an exported file computes what the net computed in PyTorch, and how fast it is."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from mobilenets.export.exportable import Runner

LEAST_AGREEMENT = 0.999  # of the predictions of a float format with those of PyTorch


class Example(NamedTuple):
    """Inputs as the net in PyTorch and as the file takes them, and their classes if known."""

    images: Tensor  # (N, C, H, W), normalised
    inputs: Tensor  # the same, or uint8 (N, H, W, C) for a file that preprocesses
    labels: Tensor | None  # (N,) int64


@dataclass(frozen=True)
class Parity:
    """What a file and the net in PyTorch make of the same images.

    Attributes:
        images: how many were compared.
        largest_difference: of a logit.
        agreement: share of the images with the same top-1.
        accuracy, accuracy_pytorch: top-1 of both, from 0 to 1; None where no labels are known.
    """

    images: int
    largest_difference: float
    agreement: float
    accuracy: float | None
    accuracy_pytorch: float | None

    @property
    def drop(self) -> float:
        """Points of top-1 that the file loses; without labels, predictions that changed."""
        if self.accuracy is None or self.accuracy_pytorch is None:
            return round(100 * (1 - self.agreement), 6)
        return round(100 * (self.accuracy_pytorch - self.accuracy), 6)

    def refusal(self, int8: bool, max_drop: float) -> str | None:
        """Why the file is not to be used; None if it is."""
        if not math.isfinite(self.largest_difference):
            return "its logits are not finite"
        if int8 and self.drop > max_drop:
            return f"it loses {self.drop:.2f} points, and max_drop={max_drop:g} are allowed"
        if not int8 and self.agreement < LEAST_AGREEMENT:
            return (
                f"it agrees with PyTorch on {self.agreement:.2%} of {self.images:,} images, and "
                f"{LEAST_AGREEMENT:.1%} are needed"
            )
        return None


def compare(
    reference: Runner, runners: Mapping[str, Runner], examples: Iterable[Example]
) -> dict[str, Parity]:
    """Runs the net in PyTorch and all files on the same images."""
    counts = {name: _Counts() for name in runners}
    for example in examples:
        expected = reference(example.images)
        for name, runner in runners.items():
            counts[name].add(expected, runner(example.inputs), example.labels)
    return {name: count.parity() for name, count in counts.items()}


class _Counts:
    """Adds up what a file and PyTorch make of images."""

    def __init__(self) -> None:
        self.images = self.agreed = self.labelled = self.correct = self.correct_pytorch = 0
        self.largest = 0.0

    def add(self, expected: Tensor, logits: Tensor, labels: Tensor | None) -> None:
        difference = float((logits - expected).abs().max())
        self.largest = max(self.largest, difference if math.isfinite(difference) else math.inf)
        found, wanted = logits.argmax(1), expected.argmax(1)
        self.images += len(expected)
        self.agreed += int((found == wanted).sum())
        if labels is not None:
            self.labelled += len(labels)
            self.correct += int((found == labels).sum())
            self.correct_pytorch += int((wanted == labels).sum())

    def parity(self) -> Parity:
        accuracies: list[float | None] = [None, None]
        if self.labelled:
            accuracies = [n / self.labelled for n in (self.correct, self.correct_pytorch)]
        return Parity(self.images, self.largest, self.agreed / self.images, *accuracies)


def as_json(parity: Parity, latency: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    """The figures of a file as export.json has them."""
    return {
        **asdict(parity),
        "latency_ms": {
            f"batch {size}": {"median": median, "p95": p95}
            for size, (median, p95) in latency.items()
        },
    }
