"""MobileNetV1 and MobileNetV2: the nets, their weights, and the training of both.

Names are imported when they are first used, so that `import mobilenets.config` costs no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name -> the module that defines it
    "create_model": "mobilenets.weights",
    "list_models": "mobilenets.models",
    "MobileNetV1": "mobilenets.models",
    "MobileNetV2": "mobilenets.models",
    "ConvBNReLU": "mobilenets.models",
    "DepthwiseSeparableConv": "mobilenets.models",
    "InvertedResidual": "mobilenets.models",
    "count_macs": "mobilenets.models",
    "count_parameters": "mobilenets.models",
    "fold_batchnorm": "mobilenets.models",
    "load_model": "mobilenets.weights",
    "save_model": "mobilenets.weights",
    "push_to_hub": "mobilenets.weights.push",
    "Predictor": "mobilenets.predict",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
