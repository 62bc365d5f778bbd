"""Which part of a picture speaks for its class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilenets.models import MobileNet


def grad_cam(net: MobileNet, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """How much each place of the last map speaks for a class: (N, h, w), from 0 to 1.

    The channels of the map are weighted with the gradient of the class's logit, averaged over the
    map; what speaks against the class is 0, and the largest value of each image 1.

    Args:
        net: a net in evaluation mode.
        images: normalised (N, C, H, W).
        classes: (N,), whose logits are looked at; None = the predicted ones.

    Reference: arXiv 1610.02391, section 3, equations 1 and 2.
    """
    with torch.no_grad():
        features = net.forward_features(images)  # (N, C, h, w)
    with torch.enable_grad():
        features.requires_grad_()
        logits = net.forward_head(features)
        chosen = logits.argmax(1) if classes is None else classes
        picked = logits.gather(1, chosen[:, None]).sum()
        (gradient,) = torch.autograd.grad(picked, features)
    weights = gradient.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    maps = F.relu((weights * features.detach()).sum(1))  # (N, h, w)
    largest = maps.amax((1, 2), keepdim=True)
    return maps / largest.where(largest > 0, torch.ones_like(largest))
