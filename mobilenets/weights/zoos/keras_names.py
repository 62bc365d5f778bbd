"""Layers that Keras numbers instead of naming them, and the config of its models."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

ORDINAL = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization|dense)(?:_(\d+))?")


def parse_model_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (options, preprocessing) that a model's config states: bn_eps, activation, size."""
    options: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    for kind, layer in _iterate_layers(config):
        if kind == "InputLayer":
            shape = layer.get("batch_input_shape") or layer.get("batch_shape") or []
            if len(shape) == 4 and isinstance(shape[1], int):
                preprocessing["image_size"] = shape[1]
        elif kind == "BatchNormalization" and "epsilon" in layer:
            options["bn_eps"] = layer["epsilon"]
        elif kind == "ReLU":
            options["activation"] = "relu" if layer.get("max_value") is None else "relu6"
    return options, preprocessing


def _iterate_layers(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (class, config) of every layer, including those of nested models."""
    if isinstance(config, Mapping):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), Mapping):
            yield config["class_name"], config["config"]
        for value in config.values():
            yield from _iterate_layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _iterate_layers(value)


def name_layers_by_order(
    tensors: dict[tuple[str, str], Tensor],
) -> dict[tuple[str, str], Tensor]:
    """Give numbered layers (conv2d, conv2d_1, depthwise_conv2d, ...) the names of Keras's nets.

    Keras numbers the layers of each class in the order in which they are called. Other names stay
    as they are.
    """
    modules = {module: match for module, _ in tensors if (match := ORDINAL.fullmatch(module))}
    if len(modules) != len({module for module, _ in tensors}):
        return tensors
    by_class: dict[str, list[str]] = {}
    for module, match in sorted(modules.items(), key=lambda item: int(item[1][2] or 0)):
        by_class.setdefault(match[1], []).append(module)
    depthwise = len(by_class.get("depthwise_conv2d", []))
    norms = len(by_class.get("batch_normalization", []))
    names = _make_v1_names(depthwise) if norms == 2 * depthwise + 1 else _make_v2_names(depthwise)
    renamed = {
        module: name
        for kind, found in by_class.items()
        for module, name in zip(found, names[kind], strict=False)
    }
    return {(renamed.get(module, module), variable): t for (module, variable), t in tensors.items()}


def _make_v1_names(num_blocks: int) -> dict[str, list[str]]:
    """Return the names of a MobileNetV1's layers by class, in order."""
    numbers = range(1, num_blocks + 1)
    pairs = [f"conv_{kind}_{i}" for i in numbers for kind in ("dw", "pw")]
    return {
        "conv2d": ["conv1", *(f"conv_pw_{i}" for i in numbers), "conv_preds"],
        "depthwise_conv2d": [f"conv_dw_{i}" for i in numbers],
        "batch_normalization": [f"{name}_bn" for name in ("conv1", *pairs)],
        "dense": ["predictions"],
    }


def _make_v2_names(num_blocks: int) -> dict[str, list[str]]:
    """Return the names of a MobileNetV2's layers by class, in order."""
    parts = ("expand", "depthwise", "project")
    names = [f"expanded_conv_{part}" for part in parts[1:]]
    names += [f"block_{i}_{part}" for i in range(1, num_blocks) for part in parts]
    return {
        "conv2d": ["Conv1", *(n for n in names if not n.endswith("depthwise")), "Conv_1"],
        "depthwise_conv2d": [name for name in names if name.endswith("depthwise")],
        "batch_normalization": ["bn_Conv1", *(f"{name}_BN" for name in names), "Conv_1_bn"],
        "dense": ["predictions"],
    }
