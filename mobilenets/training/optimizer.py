"""Optimizers: which parameters they decay, and at which rates they learn."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn


def rmsprop_tf(*args: Any, **options: Any) -> torch.optim.Optimizer:
    """TensorFlow's form of RMSprop: eps inside the root, the rate inside the momentum."""
    from timm.optim import RMSpropTF  # takes a while, and no other optimizer needs it

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
    """The optimizer `name` over the trainable parameters of `net`.

    Args:
        name: a key of `OPTIMIZERS`; `options` are that optimizer's own.
        decay_norm_and_bias: weight decay on BatchNorm's parameters and on biases too.
        decay_depthwise: False takes weight decay off the depthwise filters, which hold so few
            parameters (MobileNetV1 paper, section 3.2).
        layer_decay: multiplies a layer's rate once for every layer after it, the layers being those
            of `net.features` and the classifier (BEiT's rule, arXiv 2106.08254).
        head_lr_mult: multiplies the classifier's rate.
    """
    undecayed = () if decay_depthwise else depthwise_weights(net)
    if layer_decay is None and head_lr_mult == 1:
        groups = groups_by_decay(net, weight_decay, decay_norm_and_bias, undecayed)
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
        for group in groups:  # all of one layer
            group["lr"] = lr * group.pop("lr_scale")
            if group["params"][0] in head:
                group["lr"] *= head_lr_mult
    if name in FUSED and all(p.device.type in FUSED_DEVICES for p in net.parameters()):
        options["fused"] = True
    optimizer = OPTIMIZERS[name](groups, lr=lr, weight_decay=weight_decay, **options)
    optimizer.register_step_pre_hook(start_momentum)
    # Lightning refuses to clip gradients that the optimizer itself would unscale (16-mixed).
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def groups_by_decay(
    net: nn.Module, weight_decay: float, decay_norm_and_bias: bool, undecayed: Collection[str]
) -> list[dict[str, Any]]:
    """The trainable parameters that aren't decayed, then those that are, if there are any of each.

    The groups of timm's `param_groups_weight_decay`, in its order: checkpoints count on it.
    """
    groups: dict[float, list[nn.Parameter]] = {0.0: [], weight_decay: []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            norm_or_bias = parameter.ndim <= 1 or name.endswith(".bias")
            left_out = name in undecayed or (norm_or_bias and not decay_norm_and_bias)
            groups[0.0 if left_out else weight_decay].append(parameter)
    return [{"params": members, "weight_decay": w} for w, members in groups.items() if members]


def start_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Starts SGD's momentum at 0, as SGD does itself when a parameter meets its first gradient.

    Its fused kernel does so only if all meet it in the same step, unlike layers that thaw.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            state = optimizer.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def depthwise_weights(net: nn.Module) -> list[str]:
    """The names of the depthwise filters: convolutions with as many groups as input channels."""
    return [
        f"{name}.weight"
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
    ]
