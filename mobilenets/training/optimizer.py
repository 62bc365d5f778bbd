"""Optimizers, and which parameters they decay."""

from collections.abc import Callable
from typing import Any

import torch
from timm.optim import RMSpropTF, param_groups_weight_decay
from torch import nn

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": RMSpropTF,  # TensorFlow's form: eps inside the root, the rate inside the momentum
    "adamw": torch.optim.AdamW,
}


def create_optimizer(
    net: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decay_norm_and_bias: bool = False,
    decay_depthwise: bool = True,
    **options: Any,
) -> torch.optim.Optimizer:
    """The optimizer `name` over the trainable parameters of `net`.

    Args:
        name: a key of `OPTIMIZERS`; `options` are that optimizer's own.
        decay_norm_and_bias: weight decay on BatchNorm's parameters and on biases too.
        decay_depthwise: False takes weight decay off the depthwise filters, which hold so few
            parameters (MobileNetV1 paper, section 3.2).
    """
    groups = param_groups_weight_decay(
        net,
        weight_decay,
        weight_decay_exclude_1d=not decay_norm_and_bias,
        no_weight_decay_list=() if decay_depthwise else depthwise_weights(net),
    )
    return OPTIMIZERS[name](groups, lr=lr, weight_decay=weight_decay, **options)


def depthwise_weights(net: nn.Module) -> list[str]:
    """The names of the depthwise filters: convolutions with as many groups as input channels."""
    return [
        f"{name}.weight"
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
    ]
