"""Which part of a picture speaks for its class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.models import MobileNet

LAST_MAP = "features"  # the layer whose output `forward_features` returns


def grad_cam(
    net: MobileNet, images: Tensor, classes: Tensor | None = None, layer: str = LAST_MAP
) -> Tensor:
    """How much each place of a map speaks for a class: (N, h, w), from 0 to 1.

    The channels of the map are weighted with the gradient of the class's logit, averaged over the
    map; what speaks against the class is 0, and the largest value of each image 1.

    Args:
        net: a net in evaluation mode.
        images: normalised (N, C, H, W).
        classes: (N,), whose logits are looked at; None = the predicted ones.
        layer: the name of the layer whose output is the map, such as "features.5".

    Raises:
        ValueError: the net has no such layer, or its output is no map.

    Reference: arXiv 1610.02391, section 3, equations 1 and 2.
    """
    features, logits = _watched(net, images, layer)
    chosen = logits.argmax(1) if classes is None else classes
    picked = logits.gather(1, chosen[:, None]).sum()
    (gradient,) = torch.autograd.grad(picked, features)
    weights = gradient.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    maps = F.relu((weights * features.detach()).sum(1))  # (N, h, w)
    largest = maps.amax((1, 2), keepdim=True)
    return maps / largest.where(largest > 0, torch.ones_like(largest))


def _watched(net: MobileNet, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The output of a layer, and the logits that it leads to, as autograd sees both."""
    features = torch.empty(0)

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        nonlocal features
        features = output.detach().requires_grad_()  # nothing before it needs a gradient
        return features.clone()  # for activations in place

    if layer not in dict(net.named_modules()):
        raise ValueError(f"there is no layer {layer!r}: features, features.0, ... are maps")
    handle = net.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = net(images)
    finally:
        handle.remove()
    if features.dim() != 4:
        raise ValueError(f"the output of layer {layer!r} is no map: features, features.0, ... are")
    return features, logits
