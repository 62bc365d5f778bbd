"""What is particular to Keras: nameless layers, and what a model's config says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

ORDINAL = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization|dense)(?:_(\d+))?")


class Expectations(NamedTuple):
    """What a model's config says of the net and of its inputs."""

    options: dict[str, Any]
    preprocessing: dict[str, Any]


def expectations(config: Mapping[str, Any]) -> Expectations:
    """BatchNorm's epsilon, activation and image size from a model's config, if there."""
    options: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    for kind, layer in _layers(config):
        if kind == "InputLayer":
            shape = layer.get("batch_input_shape") or layer.get("batch_shape") or []
            if len(shape) == 4 and isinstance(shape[1], int):
                preprocessing["image_size"] = shape[1]
        elif kind == "BatchNormalization" and "epsilon" in layer:
            options["bn_eps"] = layer["epsilon"]
        elif kind == "ReLU":
            options["activation"] = "relu" if layer.get("max_value") is None else "relu6"
    return Expectations(options, preprocessing)


def _layers(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(class, config) of every layer, those of models within models included."""
    if isinstance(config, Mapping):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), Mapping):
            yield config["class_name"], config["config"]
        for value in config.values():
            yield from _layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers(value)


def named_by_order(tensors: dict[tuple[str, str], Tensor]) -> dict[tuple[str, str], Tensor]:
    """Keras's names for layers that a file only counts: conv2d, conv2d_1, depthwise_conv2d, ...

    Within a class, layers are counted in the order in which they are called, so the numbers of
    the layers of each class tell the net. Other names stay as they are.
    """
    modules = {module: match for module, _ in tensors if (match := ORDINAL.fullmatch(module))}
    if len(modules) != len({module for module, _ in tensors}):
        return tensors
    counted: dict[str, list[str]] = {}
    for module, match in sorted(modules.items(), key=lambda item: int(item[1][2] or 0)):
        counted.setdefault(match[1], []).append(module)
    depthwise = len(counted.get("depthwise_conv2d", []))
    norms = len(counted.get("batch_normalization", []))
    names = _v1_names(depthwise) if norms == 2 * depthwise + 1 else _v2_names(depthwise)
    renamed = {
        module: name
        for kind, found in counted.items()
        for module, name in zip(found, names[kind], strict=False)
    }
    return {(renamed.get(module, module), variable): t for (module, variable), t in tensors.items()}


def _v1_names(blocks: int) -> dict[str, list[str]]:
    """The names of a MobileNet of so many blocks, by class, in order."""
    numbers = range(1, blocks + 1)
    pairs = [f"conv_{kind}_{i}" for i in numbers for kind in ("dw", "pw")]
    return {
        "conv2d": ["conv1", *(f"conv_pw_{i}" for i in numbers), "conv_preds"],
        "depthwise_conv2d": [f"conv_dw_{i}" for i in numbers],
        "batch_normalization": [f"{name}_bn" for name in ("conv1", *pairs)],
        "dense": ["predictions"],
    }


def _v2_names(blocks: int) -> dict[str, list[str]]:
    """Likewise of a MobileNetV2."""
    parts = ("expand", "depthwise", "project")
    names = [f"expanded_conv_{part}" for part in parts[1:]]
    names += [f"block_{i}_{part}" for i in range(1, blocks) for part in parts]
    return {
        "conv2d": ["Conv1", *(n for n in names if not n.endswith("depthwise")), "Conv_1"],
        "depthwise_conv2d": [name for name in names if name.endswith("depthwise")],
        "batch_normalization": ["bn_Conv1", *(f"{name}_BN" for name in names), "Conv_1_bn"],
        "dense": ["predictions"],
    }
