"""An exponential moving average (EMA) of the weights over the steps of training."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightEMA(nn.Module):
    """The exponential moving average of a net's parameters and buffers.

    The weight of a step depends only on its number, so a resumed run needs no further state. The
    decay rises to `decay` over the first steps; otherwise a short run would average its random
    initialisation. Integer buffers are copied. bfloat16 is too coarse for the change of one step,
    so there averages are rounded stochastically.

    Args:
        net: the net to average; `module`, in evaluation mode, starts as a copy of it.
        decay: the maximum share of the average that a step keeps.

    Reference: timm's `ModelEmaV3`, which computes the same averages.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        # Without gradients: DDP waits for those of every parameter that requires one.
        self.module = deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.tensors: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}

    def track(self, net: nn.Module) -> None:
        """Collect the tensors that `update` averages; call it once they are on their device.

        Done once, because collecting them takes three times as long as averaging them.
        """
        self.tensors = {}
        pairs = zip(list_tensors(self.module), list_tensors(net), strict=True)
        for average, value in pairs:
            averages, values = self.tensors.setdefault(average.dtype, ([], []))
            averages.append(average)
            values.append(value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the net as it is after optimizer step `step`; the first step is 1."""
        weight = 1 - self.decay_at(step)
        for dtype, (averages, values) in self.tensors.items():
            if not dtype.is_floating_point:
                torch._foreach_copy_(averages, values)
            elif dtype == torch.bfloat16:
                lerp_stochastically(averages, values, weight, seed=step)
            else:
                torch._foreach_lerp_(averages, values, weight=weight)

    def decay_at(self, step: int) -> float:
        """Return the share of the average that a step keeps: 0 at step 1, then rising."""
        return min(self.decay, 1 - step ** -(2 / 3))


def list_tensors(net: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers of a net."""
    return [*net.parameters(), *net.buffers()]


def lerp_stochastically(
    averages: list[Tensor], values: list[Tensor], weight: float, *, seed: int
) -> None:
    """Move bfloat16 averages towards the values by `weight`, rounded without bias.

    Rounding down cuts off the lower 16 bits of a float32. A random number is added to them first;
    the larger they are, the more often that carries into the upper 16 bits.
    """
    generator = torch.Generator(averages[0].device).manual_seed(seed)
    for average, value in zip(averages, values, strict=True):
        bits = average.float().lerp(value.float(), weight).view(torch.int32)
        bits += torch.randint(
            2**16, bits.shape, generator=generator, dtype=bits.dtype, device=bits.device
        )
        average.copy_((bits & -(2**16)).view(torch.float32))
