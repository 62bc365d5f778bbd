"""Entry points for torch.hub, which need only torch and torchvision.

net = torch.hub.load("OWNER/mobilenets", "mobilenet_v2", weights="torchvision:IMAGENET1K_V2")
"""

import typing  # not `from typing import Any`: every callable in this file is an entry point

from torch import nn

import mobilenets

dependencies = ["torch", "torchvision"]


def mobilenet_v1(weights: str | None = None, **options: typing.Any) -> nn.Module:
    """Build MobileNetV1 (arXiv 1704.04861).

    Args:
        weights: a file, a run folder, or a name such as timm:mobilenetv1_100.ra4_e3600_r224_in1k
            (needs timm), hf:OWNER/REPO (needs huggingface_hub) or https://HOST/FILE#sha256=HEX;
            None = random weights.
        options: those of mobilenets.MobileNetV1, such as width_mult and num_classes.
    """
    return mobilenets.create_model("mobilenet_v1", weights=weights, **options)


def mobilenet_v2(weights: str | None = None, **options: typing.Any) -> nn.Module:
    """Build MobileNetV2 (arXiv 1801.04381).

    Args:
        weights: a file, a run folder, or a name such as torchvision:IMAGENET1K_V2,
            hf:OWNER/REPO (needs huggingface_hub) or https://HOST/FILE#sha256=HEX; None = random
            weights.
        options: those of mobilenets.MobileNetV2, such as width_mult and num_classes.
    """
    return mobilenets.create_model("mobilenet_v2", weights=weights, **options)


def load(path: str, **options: typing.Any) -> nn.Module:
    """Load a trained net in evaluation mode, with its class_names and preprocessing.

    Args:
        path: a file, a run folder, or a name as in `mobilenet_v2`.
        options: those of mobilenets.load_model, such as num_classes for another classifier.
    """
    return mobilenets.load_model(path, **options)
