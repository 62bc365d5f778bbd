"""The average of the weights over the steps of training."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightEMA(nn.Module):
    """The exponential moving average of a net's parameters and buffers.

    A step decides by its number alone how much it weighs, so a run can go on anywhere. The decay
    grows to `decay`, or a short run would average its random start. Counters are copied. In
    bfloat16, which can't hold what a step adds, averages are rounded up or down by chance.

    Args:
        net: what is averaged; `module`, in evaluation mode, starts as its copy.
        decay: share of the average that a step keeps, at most.

    Reference: timm's `ModelEmaV3`, whose averages these are.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        # ddp waits for the gradients of what requires any.
        self.module = deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}

    def follow(self, net: nn.Module) -> None:
        """Looks up the tensors that `update` averages: to be called when they are in their place.

        To find them takes three times as long as to average them.
        """
        self.pairs = {}
        for average, value in zip(tensors(self.module), tensors(net), strict=True):
            averages, values = self.pairs.setdefault(average.dtype, ([], []))
            averages.append(average)
            values.append(value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Adds the net as it is after optimizer step `step`, the first being 1."""
        weight = 1 - self.decay_at(step)
        for dtype, (averages, values) in self.pairs.items():
            if not dtype.is_floating_point:
                torch._foreach_copy_(averages, values)
            elif dtype == torch.bfloat16:
                lerp_by_chance(averages, values, weight, seed=step)
            else:
                torch._foreach_lerp_(averages, values, weight=weight)

    def decay_at(self, step: int) -> float:
        """The share of the average that a step keeps: none of the first, then ever more."""
        return min(self.decay, 1 - step ** -(2 / 3))


def tensors(net: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*net.parameters(), *net.buffers()]


def lerp_by_chance(
    averages: list[Tensor], values: list[Tensor], weight: float, *, seed: int
) -> None:
    """Moves bfloat16 averages to the values by `weight`, rounded so that the expectation is exact.

    To round down is to cut off the lower half of a float32; whatever is added to that half before
    carries into the upper one as often as it is large.
    """
    generator = torch.Generator(averages[0].device).manual_seed(seed)
    for average, value in zip(averages, values, strict=True):
        bits = average.float().lerp(value.float(), weight).view(torch.int32)
        bits += torch.randint(
            2**16, bits.shape, generator=generator, dtype=bits.dtype, device=bits.device
        )
        average.copy_((bits & -(2**16)).view(torch.float32))
