"""MobileNetV1 and MobileNetV2, their blocks and their cost, with torch as the only dependency."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any

from mobilenets.choices import check_choice
from mobilenets.models.blocks import (
    ConvBNReLU,
    DepthwiseSeparableConv,
    InvertedResidual,
    make_divisible,
)
from mobilenets.models.complexity import count_macs, count_parameters
from mobilenets.models.fold import fold_batchnorm
from mobilenets.models.mobilenet import MobileNet
from mobilenets.models.mobilenet_v1 import MobileNetV1
from mobilenets.models.mobilenet_v2 import MobileNetV2

__all__ = [
    "ConvBNReLU",
    "DepthwiseSeparableConv",
    "InvertedResidual",
    "MobileNet",
    "MobileNetV1",
    "MobileNetV2",
    "count_macs",
    "count_parameters",
    "create_model",
    "fold_batchnorm",
    "list_models",
    "make_divisible",
]

# To add a net, add a line: its name, and a class or function that builds it from its options.
MODELS: dict[str, Callable[..., MobileNet]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
}


def create_model(name: str, **options: Any) -> MobileNet:
    """Build the net `name` (see `list_models`) with these options of its constructor.

    Raises:
        ValueError: the name or an option is unknown (the message suggests the most similar one), or
            an option is out of range.
    """
    check_choice("model", name, MODELS)
    for option in options:
        check_choice(f"{name}: option", option, signature(MODELS[name]).parameters)
    return MODELS[name](**options)


def list_models(pattern: str = "*") -> list[str]:
    """Return the sorted names of `create_model` that match a shell pattern such as "*v2"."""
    return sorted(name for name in MODELS if fnmatchcase(name, pattern))
