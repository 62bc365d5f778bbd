"""Optimizers: which parameters are decayed, and the learning rate of each layer."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from mobilenets.training.fault_tolerance.lightning_internals import allow_clipping_when_fused


def rmsprop_tf(*args: Any, **options: Any) -> torch.optim.Optimizer:
    """Make TensorFlow's RMSprop: eps inside the square root, the rate inside the momentum."""
    from timm.optim import RMSpropTF  # slow to import, and no other optimizer needs it

    return RMSpropTF(*args, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "rmsprop": rmsprop_tf,
    "adamw": torch.optim.AdamW,
}
FUSED = ("sgd", "adamw")  # these update all parameters in one kernel
FUSED_DEVICES = ("cpu", "cuda")


def create_optimizer(
    net: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decay_norm_and_bias: bool = False,
    decay_depthwise: bool = True,
    layer_decay: float | None = None,
    head_lr_mult: float = 1.0,
    **options: Any,
) -> torch.optim.Optimizer:
    """Create the optimizer `name` for the trainable parameters of `net`.

    Args:
        net: the net to train.
        name: a key of `OPTIMIZERS`; `options` are that optimizer's own.
        lr: the base learning rate.
        weight_decay: as the optimizer defines it.
        decay_norm_and_bias: apply weight decay to BatchNorm's parameters and to biases too.
        decay_depthwise: False exempts depthwise filters from weight decay, because they have so few
            parameters (MobileNetV1 paper, section 3.2).
        layer_decay: factor on a layer's rate for each layer after it; the layers are those of
            `net.features` and the classifier (BEiT's rule, arXiv 2106.08254).
        head_lr_mult: factor on the classifier's rate.
    """
    undecayed = () if decay_depthwise else find_depthwise_weights(net)
    if layer_decay is None and head_lr_mult == 1:
        groups = group_by_decay(net, weight_decay, decay_norm_and_bias, undecayed)
    else:
        from timm.optim import param_groups_layer_decay

        groups = param_groups_layer_decay(
            net,
            weight_decay,
            layer_decay=1.0 if layer_decay is None else layer_decay,
            weight_decay_exclude_1d=not decay_norm_and_bias,
            no_weight_decay_list=undecayed,
        )
        head = set(net.get_submodule("classifier").parameters())
        for group in groups:  # the parameters of a group are all of one layer
            group["lr"] = lr * group.pop("lr_scale")
            if group["params"][0] in head:
                group["lr"] *= head_lr_mult
    if name in FUSED and all(p.device.type in FUSED_DEVICES for p in net.parameters()):
        options["fused"] = True
    optimizer = OPTIMIZERS[name](groups, lr=lr, weight_decay=weight_decay, **options)
    optimizer.register_step_pre_hook(init_momentum)
    allow_clipping_when_fused(optimizer)
    return optimizer


def group_by_decay(
    net: nn.Module, weight_decay: float, decay_norm_and_bias: bool, undecayed: Collection[str]
) -> list[dict[str, Any]]:
    """Return the trainable parameters in up to two groups: without, then with weight decay.

    They are the groups of timm's `param_groups_weight_decay`, in the same order. A checkpoint
    identifies parameters by that order.
    """
    groups: dict[float, list[nn.Parameter]] = {0.0: [], weight_decay: []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            is_norm_or_bias = parameter.ndim <= 1 or name.endswith(".bias")
            is_exempt = name in undecayed or (is_norm_or_bias and not decay_norm_and_bias)
            groups[0.0 if is_exempt else weight_decay].append(parameter)
    return [{"params": members, "weight_decay": w} for w, members in groups.items() if members]


def init_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Start SGD's momentum at 0, as plain SGD does at the first gradient of a parameter.

    Fused SGD does so only if all parameters get their first gradient in the same step, which layers
    that unfreeze later do not.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            state = optimizer.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def find_depthwise_weights(net: nn.Module) -> list[str]:
    """Return the names of depthwise filters: convolutions with one group per input channel."""
    return [
        f"{name}.weight"
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
    ]
