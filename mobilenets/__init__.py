"""MobileNetV1 and MobileNetV2: the nets, their training and their weights.

Names are imported on first use, so that `import mobilenets.config` does not import torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = {  # public name -> the module to import it from
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
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mobilenets' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
