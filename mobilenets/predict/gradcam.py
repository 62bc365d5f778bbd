"""Grad-CAM: a heat map of the evidence for a class in an image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.models import MobileNet

LAST_LAYER = "features"  # its output is that of `forward_features`


def grad_cam(
    net: MobileNet, images: Tensor, classes: Tensor | None = None, layer: str = LAST_LAYER
) -> Tensor:
    """Return heat maps (N, h, w) from 0 to 1: the evidence for a class at each location.

    The channels of a feature map are weighted with the gradient of the class's logit, averaged over
    the locations. Evidence against the class is 0, and the largest value of each image 1.

    Args:
        net: a net in evaluation mode.
        images: normalised (N, C, H, W).
        classes: (N,) classes to explain; None = the predicted ones.
        layer: the layer whose output is the feature map, such as "features.5".

    Raises:
        ValueError: the net has no such layer, or its output is not a feature map.

    Reference: arXiv 1610.02391, section 3, equations 1 and 2.
    """
    features, logits = _forward_from(net, images, layer)
    chosen = logits.argmax(1) if classes is None else classes
    picked = logits.gather(1, chosen[:, None]).sum()
    (gradient,) = torch.autograd.grad(picked, features)
    weights = gradient.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    maps = F.relu((weights * features.detach()).sum(1))  # (N, h, w)
    largest = maps.amax((1, 2), keepdim=True)
    return maps / largest.where(largest > 0, torch.ones_like(largest))


def _forward_from(net: MobileNet, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's output, and the logits as a differentiable function of it."""
    features = torch.empty(0)

    def capture(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        nonlocal features
        features = output.detach().requires_grad_()  # no layer before it needs a gradient
        return features.clone()  # the next activation may work in place

    if layer not in dict(net.named_modules()):
        raise ValueError(f"the net has no layer {layer!r}: choose features, features.0, ...")
    handle = net.get_submodule(layer).register_forward_hook(capture)
    try:
        with torch.enable_grad():
            logits = net(images)
    finally:
        handle.remove()
    if features.dim() != 4:
        raise ValueError(
            f"the output of layer {layer!r} is not a feature map: choose features, features.0, ..."
        )
    return features, logits
