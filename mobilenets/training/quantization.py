"""Quantization-aware training: the net computes with its numbers rounded as int8 will round them.

Weights are rounded to int8, symmetric around 0, with one scale for each output channel. The inputs
of convolutions and linear layers (images, activations, residual sums) are rounded to 8 bits with
one scale for the tensor, between a minimum and a maximum that training observes. Residual sums add
floats, where a runtime may quantize both terms too.

The largest weight of a channel determines its scale. Folding BatchNorm into a convolution
multiplies all weights of a channel, and so their scale, by one number. Quantizing the weights
before folding is therefore the same as quantizing the folded weights, and the folded net of an
evaluation agrees with the net in training.

Reference: arXiv 1712.05877, section 3; arXiv 1806.08342 for one scale per channel, without which
MobileNets fail.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.models.blocks import Conv2dSame
from mobilenets.training.kernels import SmallMapConv2d

MOMENTUM = 0.01  # weight of a new batch in the observed ranges
MIN_SCALE = torch.finfo(torch.float32).tiny  # for a channel, or a tensor, of zeros

Ranges = Mapping[str, Sequence[float]]  # name of a layer -> minimum and maximum of its inputs


class FakeQuantized(nn.Module):
    """A layer with a range for its inputs, which training observes and evaluation uses.

    Attributes:
        input_range: (2,), the minimum and the maximum of the inputs, averaged over batches, with 0
            always in between. Both are 0 before the first batch. It is not in the state dict:
            `get_activation_ranges` returns it.
    """

    input_range: Tensor

    def quantize(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input and the weights, rounded to 8 bits."""
        if x.is_meta:  # multiply-adds are being counted, and PyTorch can't quantize without values
            return x, weight
        if self.training:
            self.observe(x.detach())
        return fake_quantize_activations(x, self.input_range), fake_quantize_weights(weight)

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Move the range towards that of a batch; the first batch sets it."""
        low, high = x.aminmax()
        seen = torch.stack([low.clamp(max=0), high.clamp(min=0)]).to(self.input_range)
        is_first = self.input_range[0] == self.input_range[1]
        self.input_range.lerp_(seen, torch.where(is_first, 1.0, MOMENTUM).to(seen))


class FakeQuantizedConv(FakeQuantized, nn.Conv2d):
    """A convolution of quantized inputs with quantized weights."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(*self.quantize(input, weight), bias)


class FakeQuantizedConv2d(FakeQuantizedConv, SmallMapConv2d):
    """A quantized `SmallMapConv2d`, which replaces any plain convolution."""


class FakeQuantizedConv2dSame(FakeQuantizedConv, Conv2dSame):
    """A quantized `Conv2dSame`, which is padded as in TensorFlow."""


class FakeQuantizedLinear(FakeQuantized, nn.Linear):
    """A linear layer with quantized inputs and weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return F.linear(*self.quantize(input, self.weight), self.bias)


FAKE_QUANTIZED: dict[type[nn.Module], type[FakeQuantized]] = {
    nn.Conv2d: FakeQuantizedConv2d,
    SmallMapConv2d: FakeQuantizedConv2d,
    Conv2dSame: FakeQuantizedConv2dSame,
    nn.Linear: FakeQuantizedLinear,
}


def fake_quantize(net: nn.Module, ranges: Ranges | None = None) -> nn.Module:
    """Make a net compute as if in int8, in training and in evaluation; return the net.

    Only the classes of its layers change, not its parameters or the keys of its state dict.
    Gradients pass as if nothing were rounded.

    Args:
        net: a net, with or without fast modules.
        ranges: what `get_activation_ranges` returned for such a net; None = training observes them.
    """
    for module in net.modules():
        if kind := FAKE_QUANTIZED.get(type(module)):
            module.__class__ = kind
            zeros = torch.zeros(2, device=module.weight.device)  # type: ignore[arg-type]
            module.register_buffer("input_range", zeros, persistent=False)
    if ranges is not None:
        set_activation_ranges(net, ranges)
    return net


def is_fake_quantized(net: nn.Module) -> bool:
    """Return whether a net computes as if in int8."""
    return any(True for _ in _fake_quantized_layers(net))


def get_activation_ranges(net: nn.Module) -> dict[str, list[float]]:
    """Return the range of the inputs of every quantized layer; empty for any other net."""
    return {name: layer.input_range.tolist() for name, layer in _fake_quantized_layers(net)}


def set_activation_ranges(net: nn.Module, ranges: Ranges) -> None:
    """Restore the range of every quantized layer.

    Raises:
        ValueError: the ranges are of another net.
    """
    layers = dict(_fake_quantized_layers(net))
    if layers.keys() != ranges.keys():
        raise ValueError(
            "the activation_ranges of the checkpoint are those of another net "
            f"({min(layers.keys() ^ ranges.keys())!r} is in only one of them): get the file again"
        )
    for name, layer in layers.items():
        layer.input_range.copy_(torch.tensor(ranges[name]))


def fake_quantize_weights(weight: Tensor) -> Tensor:
    """Round weights (channels, ...) to multiples, from -127 to 127, of each channel's scale."""
    scale = weight.detach().flatten(1).abs().amax(dim=1).float() / 127
    scale, zeros = scale.clamp(min=MIN_SCALE), torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)


def fake_quantize_activations(x: Tensor, limits: Tensor) -> Tensor:
    """Round a tensor to 256 values between two limits (2,); 0 is one of the values."""
    low, high = limits.float()
    scale = ((high - low) / 255).clamp(min=MIN_SCALE)
    zero_point = (-low / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def _fake_quantized_layers(net: nn.Module) -> Iterator[tuple[str, FakeQuantized]]:
    for name, module in net.named_modules():
        if isinstance(module, FakeQuantized):
            yield name, module
