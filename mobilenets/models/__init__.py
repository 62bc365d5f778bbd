"""The zoo: MobileNetV1 and MobileNetV2, their blocks, and their cost. Needs torch only."""

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

# To add a net of your own, add a line: its name, and what builds it from keyword options.
MODELS: dict[str, Callable[..., MobileNet]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
}


def create_model(name: str, **options: Any) -> MobileNet:
    """Build the net `name` (see `list_models`) with the options of its constructor.

    Raises:
        ValueError: an unknown name or option, with the nearest valid one; an option out of range.
    """
    check_choice("model", name, MODELS)
    for option in options:
        check_choice(f"{name}: option", option, signature(MODELS[name]).parameters)
    return MODELS[name](**options)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` knows and that match a shell pattern such as "*v2", sorted."""
    return sorted(name for name in MODELS if fnmatchcase(name, pattern))
