"""Entry points of torch.hub; for them alone torch and torchvision are enough.

net = torch.hub.load("OWNER/mobilenets", "mobilenet_v2", weights="torchvision:IMAGENET1K_V2")
"""

import typing  # classes and functions imported by name would be entry points

from torch import nn

import mobilenets

dependencies = ["torch", "torchvision"]


def mobilenet_v1(weights: str | None = None, **options: typing.Any) -> nn.Module:
    """MobileNetV1 (arXiv 1704.04861).

    Args:
        weights: a file or run folder, or a name such as timm:mobilenetv1_100.ra4_e3600_r224_in1k
            (needs timm), hf:OWNER/REPO (needs huggingface_hub) or https://HOST/FILE#sha256=HEX;
            None = a random start.
        options: width_mult, num_classes and all others of mobilenets.MobileNetV1.
    """
    return mobilenets.create_model("mobilenet_v1", weights=weights, **options)


def mobilenet_v2(weights: str | None = None, **options: typing.Any) -> nn.Module:
    """MobileNetV2 (arXiv 1801.04381).

    Args:
        weights: a file or run folder, or a name such as torchvision:IMAGENET1K_V2,
            hf:OWNER/REPO (needs huggingface_hub) or https://HOST/FILE#sha256=HEX; None = a random
            start.
        options: width_mult, num_classes and all others of mobilenets.MobileNetV2.
    """
    return mobilenets.create_model("mobilenet_v2", weights=weights, **options)


def load(path: str, **options: typing.Any) -> nn.Module:
    """The trained net of a checkpoint, run folder or name of weights, in evaluation mode.

    It carries its class_names and preprocessing.

    Args:
        path: a file, a run folder or a name of weights.
        options: as in mobilenets.load_model, such as num_classes for another head.
    """
    return mobilenets.load_model(path, **options)
