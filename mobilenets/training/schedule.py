"""Learning-rate schedules: pure functions of the position in the run.

A schedule keeps no state. The rate at any step depends only on how many epochs have passed, so a
resumed run gets the same rates and a checkpoint need not hold any.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

Decay = Callable[[float, float], float]  # (epochs passed, epochs in total) -> factor


def cosine(epoch: float, epochs: float, *, final_factor: float = 0.0) -> float:
    """Fall along half a cosine from 1 to `final_factor` (SGDR without restarts).

    Reference: Loshchilov and Hutter, arXiv 1608.03983, equation 5.
    """
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def step(
    epoch: float,
    epochs: float,
    *,
    gamma: float,
    step_epochs: float,
    milestones: Sequence[float] | None = None,
) -> float:
    """Fall by `gamma` every `step_epochs` epochs, or at each of `milestones` (in epochs)."""
    if milestones is None:
        return gamma ** math.floor(epoch / step_epochs)
    return gamma ** sum(epoch >= milestone for milestone in milestones)


def exponential(epoch: float, epochs: float, *, gamma: float, decay_epochs: float = 1.0) -> float:
    """Fall smoothly by `gamma` every `decay_epochs` epochs: gamma ** (epoch / decay_epochs)."""
    return gamma ** (epoch / decay_epochs)


SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": cosine,
    "step": step,
    "exponential": exponential,
}


class Schedule:
    """The factor on the base learning rate: a linear warm-up, then the named decay.

    Args:
        name: a key of `SCHEDULES`; `options` are that function's.
        warmup_epochs: epochs in which the factor rises linearly from 0 to the decay's value.
        interval: "step" changes the rate with every batch, "epoch" only between epochs. With
            "epoch" the first epoch of the warm-up gets 1 / (warmup_epochs + 1) of the rate, not 0.
    """

    def __init__(
        self, name: str, *, warmup_epochs: float = 0.0, interval: str = "step", **options
    ) -> None:
        self.decay: Decay = partial(SCHEDULES[name], **options)
        self.warmup_epochs = warmup_epochs
        self.interval = interval

    def __call__(self, epoch: float, epochs: float, step: float = 0.0) -> float:
        """Return the factor after `epoch` of `epochs` epochs; `step` is one batch, in epochs."""
        if self.interval == "epoch":
            epoch, step = math.floor(epoch), 1.0
        factor = self.decay(epoch, epochs)
        if epoch < self.warmup_epochs:
            factor *= (epoch + step) / (self.warmup_epochs + step)
        return factor
