"""The signal-to-noise ratio of each layer's output in int8: which layers cost the accuracy.

Reference: arXiv 2106.08295 (a white paper on quantization), section 3.6.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor


class LayerSNR(NamedTuple):
    """The signal-to-noise ratio of a layer's output; 20 dB more mean a tenth of the error."""

    layer: str
    decibels: float


# Returned by a format's `write_int8`: inputs of the net -> the SNR of each layer.
MeasureSNR = Callable[[Iterable[Tensor]], list[LayerSNR]]


class SNRMeter:
    """Signal and noise power of each layer's output, summed over batches."""

    def __init__(self) -> None:
        self.powers: dict[str, list[float]] = {}  # layer -> of the signal, of the noise

    def update(self, layer: str, exact: Tensor, quantized: Tensor) -> None:
        """Add a layer's outputs in float32 and in int8 for the same images."""
        powers = self.powers.setdefault(layer, [0.0, 0.0])
        powers[0] += float(exact.double().square().sum())
        powers[1] += float((exact.double() - quantized.double()).square().sum())

    def compute(self) -> list[LayerSNR]:
        """Return the SNR of each layer, in the order of the net."""
        return [
            LayerSNR(layer, 10 * math.log10(signal / noise) if signal and noise else math.inf)
            for layer, (signal, noise) in self.powers.items()
        ]
