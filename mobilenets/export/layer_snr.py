"""How much of each layer's output is left in int8."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor


class LayerNoise(NamedTuple):
    """Signal to noise of a layer's output, in decibels: 20 more are a tenth of the error.

    Reference: arXiv 2106.08295 (a white paper on quantization), section 3.6: comparing the
    activations of each layer shows which of them costs the accuracy.
    """

    layer: str
    decibels: float


# What `write_int8` of a format returns: inputs of the net -> the noise of each of its layers.
MeasureNoise = Callable[[Iterable[Tensor]], list[LayerNoise]]


class NoiseMeter:
    """Adds up, batch by batch, what int8 changes in the outputs of layers."""

    def __init__(self) -> None:
        self.powers: dict[str, list[float]] = {}  # layer -> of the signal, of the noise

    def add(self, layer: str, exact: Tensor, quantized: Tensor) -> None:
        """Counts the outputs of a layer for the same images."""
        powers = self.powers.setdefault(layer, [0.0, 0.0])
        powers[0] += float(exact.double().square().sum())
        powers[1] += float((exact.double() - quantized.double()).square().sum())

    def layers(self) -> list[LayerNoise]:
        """The layers in the order of the net."""
        return [
            LayerNoise(layer, 10 * math.log10(signal / noise) if signal and noise else math.inf)
            for layer, (signal, noise) in self.powers.items()
        ]
