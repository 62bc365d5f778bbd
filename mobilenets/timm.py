"""The two nets for timm: importing this module lets `timm.create_model` build them by name.

    import timm
    import mobilenets.timm

    model = timm.create_model("mobilenet_v1", width_mult=0.5, num_classes=10)
    backbone = timm.create_model("mobilenet_v2", features_only=True, out_indices=(2, 3, 4))

The options are those of `mobilenets.create_model`; timm's names in_chans and drop_rate also work.
"""

from inspect import signature
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from mobilenets.models import MODELS, create_model
from mobilenets.models.mobilenet import MobileNet

_TIMM_NAMES = {"in_chans": "in_channels", "drop_rate": "dropout"}
_CFG = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "first_conv": "features.0.0",
    "classifier": "classifier.1",
    "license": "apache-2.0",
}
default_cfgs = generate_default_cfgs(
    {
        "mobilenet_v1": {**_CFG, "paper_ids": "arXiv:1704.04861"},
        "mobilenet_v2": {**_CFG, "paper_ids": "arXiv:1801.04381"},
    }
)


@register_model
def mobilenet_v1(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build `mobilenets.MobileNetV1`, or its feature maps with features_only=True."""
    return _build("mobilenet_v1", pretrained, **kwargs)


@register_model
def mobilenet_v2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build `mobilenets.MobileNetV2`, or its feature maps with features_only=True."""
    return _build("mobilenet_v2", pretrained, **kwargs)


def _build(name: str, pretrained: bool, features_only: bool = False, **kwargs: Any) -> nn.Module:
    if pretrained:
        raise ValueError(
            f"no pretrained weights are published for {name}: use pretrained=False, with "
            "checkpoint_path=PATH for weights of your own"
        )
    if "in_channels" in kwargs:
        kwargs["in_chans"] = kwargs.pop("in_channels")

    def build(**options: Any) -> MobileNet:
        return create_model(name, **{_TIMM_NAMES.get(key, key): options[key] for key in options})

    if features_only:
        kwargs.setdefault("feature_cfg", {"flatten_sequential": True})
        kwargs.setdefault("out_indices", _list_indices(name, kwargs))
    return build_model_with_cfg(build, name, False, features_only=features_only, **kwargs)


def _list_indices(name: str, kwargs: dict[str, Any]) -> tuple[int, ...]:
    """Return the indices of all feature maps: five at the paper's strides, fewer at others."""
    options = {key: kwargs[key] for key in signature(MODELS[name]).parameters if key in kwargs}
    with torch.device("meta"):
        return tuple(range(len(create_model(name, **options).feature_info)))
