"""Quantization-aware training: the net computes with what int8 will leave of its numbers.

Weights have int8 values, symmetric around 0, with one scale for each output channel. Inputs of
convolutions and linear layers, that is images, activations and sums of residuals, have 8 bits for
the whole tensor, between a minimum and a maximum that are observed in training. Sums of residuals
are formed of floats, where a runtime may quantize both terms too.

The scale of a channel is its largest weight. BatchNorm, folded into the convolution, multiplies all
weights of a channel by one number, and that multiplies the scale: to quantize the weights before
folding is to quantize the folded ones, so training and the folded net of evaluation agree.

Reference: arXiv 1712.05877, section 3; arXiv 1806.08342 for a scale of each channel, without which
MobileNets fail.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.models.blocks import Conv2dSame
from mobilenets.training.kernels import SmallMapConv2d

MOMENTUM = 0.01  # weight of a new batch in the observed ranges
LEAST_SCALE = torch.finfo(torch.float32).tiny  # that of a channel, or a tensor, of zeros

Ranges = Mapping[str, Sequence[float]]  # name of a layer -> least and largest input


class FakeQuantized(nn.Module):
    """A layer with the range of its inputs, which training observes and evaluation uses.

    Attributes:
        input_range: (2,), least and largest input, averaged over batches; 0 is always within. Both
            are 0 before the first batch. It is in no state dict: `activation_ranges` has it.
    """

    input_range: Tensor

    def quantized(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """An input and the weights with what 8 bits leave of them."""
        if x.is_meta:  # multiply-adds are counted, and PyTorch can't quantize without values
            return x, weight
        if self.training:
            self.observe(x.detach())
        return fake_quantize_activations(x, self.input_range), fake_quantize_weights(weight)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Moves the range to that of a batch; the first batch sets it."""
        low, high = x.aminmax()
        seen = torch.stack([low.clamp(max=0), high.clamp(min=0)]).to(self.input_range)
        is_first = self.input_range[0] == self.input_range[1]
        self.input_range.lerp_(seen, torch.where(is_first, 1.0, MOMENTUM).to(seen))


class FakeQuantizedConv(FakeQuantized, nn.Conv2d):
    """A convolution of quantized maps with quantized kernels."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(*self.quantized(input, weight), bias)


class FakeQuantizedConv2d(FakeQuantizedConv, SmallMapConv2d):
    """The one that is fast on small maps."""


class FakeQuantizedConv2dSame(FakeQuantizedConv, Conv2dSame):
    """The one that is padded as TensorFlow does."""


class FakeQuantizedLinear(FakeQuantized, nn.Linear):
    """A linear layer of quantized vectors with quantized weights."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_features) -> (N, out_features)."""
        return F.linear(*self.quantized(input, self.weight), self.bias)


QUANTIZED: dict[type[nn.Module], type[FakeQuantized]] = {
    nn.Conv2d: FakeQuantizedConv2d,
    SmallMapConv2d: FakeQuantizedConv2d,
    Conv2dSame: FakeQuantizedConv2dSame,
    nn.Linear: FakeQuantizedLinear,
}


def fake_quantize(net: nn.Module, ranges: Ranges | None = None) -> nn.Module:
    """Has a net compute as if in int8, in training and in evaluation; returns the net.

    Only classes of layers change: parameters and the keys of the state dict are the same objects,
    and gradients pass as if nothing had been rounded.

    Args:
        ranges: what `activation_ranges` gave for such a net; None = they will be observed.
    """
    for module in net.modules():
        if kind := QUANTIZED.get(type(module)):
            module.__class__ = kind
            zeros = torch.zeros(2, device=module.weight.device)  # type: ignore[arg-type]
            module.register_buffer("input_range", zeros, persistent=False)
    if ranges is not None:
        set_ranges(net, ranges)
    return net


def is_fake_quantized(net: nn.Module) -> bool:
    """Whether a net computes as if in int8."""
    return any(True for _ in _layers(net))


def activation_ranges(net: nn.Module) -> dict[str, list[float]]:
    """Least and largest input of every quantized layer, exact; of any other net none."""
    return {name: layer.input_range.tolist() for name, layer in _layers(net)}


def set_ranges(net: nn.Module, ranges: Ranges) -> None:
    """Gives every quantized layer its range back.

    Raises:
        ValueError: they are of another net.
    """
    layers = dict(_layers(net))
    if layers.keys() != ranges.keys():
        raise ValueError(
            "the activation_ranges of the checkpoint are those of another net "
            f"({min(layers.keys() ^ ranges.keys())!r} is in one of both): get the file again"
        )
    for name, layer in layers.items():
        layer.input_range.copy_(torch.tensor(ranges[name]))


def fake_quantize_weights(weight: Tensor) -> Tensor:
    """(channels, ...) -> the same, each channel as whole multiples, up to 127, of its scale."""
    scale = weight.detach().flatten(1).abs().amax(dim=1).float() / 127
    scale, zeros = scale.clamp(min=LEAST_SCALE), torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)


def fake_quantize_activations(x: Tensor, limits: Tensor) -> Tensor:
    """Any shape -> the same, as one of 256 values between two limits (2,), of which 0 is one."""
    low, high = limits.float()
    scale = ((high - low) / 255).clamp(min=LEAST_SCALE)
    zero_point = (-low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def _layers(net: nn.Module) -> Iterator[tuple[str, FakeQuantized]]:
    for name, module in net.named_modules():
        if isinstance(module, FakeQuantized):
            yield name, module
