"""Weights of other projects -> ours: names, axes, the background class, and the net's options."""

import re
from pathlib import Path

from torch import Tensor

from mobilenets.weights.differences import abbreviate
from mobilenets.weights.files import RawWeights
from mobilenets.weights.record import Weights
from mobilenets.weights.zoos.infer_options import find_foreign_prefix, infer_options
from mobilenets.weights.zoos.keras_names import name_layers_by_order, parse_model_config
from mobilenets.weights.zoos.layouts import (
    LAYOUTS,
    OURS,
    Layout,
    Match,
    Position,
    find_best_match,
)

VARIABLES = {  # TensorFlow's names -> PyTorch's
    "kernel": "weight",
    "weights": "weight",
    "depthwise_kernel": "weight",
    "depthwise_weights": "weight",
    "gamma": "weight",
    "beta": "bias",
    "biases": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
EMA_SUFFIX = "/ExponentialMovingAverage"  # TF-slim's second copy of a variable, for evaluation
TRAINING_STATE = re.compile(  # variables that are not the net's
    r"global_step|.*/(RMSProp|Momentum|Adam)(_\d+)?|beta\d_power|(.*/)?(iterations|seed_generator.*)"
)
BACKGROUND_CLASSES = 1001  # of TensorFlow's ImageNet: class 0 is the background
Tensors = dict[tuple[str, str], Tensor]  # (module, variable as PyTorch calls it) -> values


def convert(source: str, path: Path, raw: RawWeights, num_classes: int | None = None) -> Weights:
    """Convert the content of a file that is not ours.

    Args:
        source: the path or name that the user gave, for messages.
        path: the file or folder that was read.
        raw: its content.
        num_classes: what the user asked for; 1001 keeps TensorFlow's background class.

    Raises:
        ValueError: unknown names, layers that our nets lack, or shapes that ours can't have.
    """
    tensors, ignored = _split_names(raw)
    tensors = name_layers_by_order(tensors)
    modules = {module for module, _ in tensors}
    match = find_best_match(modules)
    _check_match(source, match, modules, raw)
    layout = match.layout
    state_dict, converted = _convert_tensors(match, tensors)
    try:
        options = {**layout.options, **infer_options(match, state_dict)}
    except ValueError as error:
        raise ValueError(f"{source} (a {layout.model} of {layout.zoo}) {error}") from error

    notes = []
    if options["num_classes"] == BACKGROUND_CLASSES != num_classes:
        for key in {"classifier.1.weight", "classifier.1.bias"} & state_dict.keys():
            state_dict[key] = state_dict[key][1:]
            converted.append(key)
        options["num_classes"] -= 1
        notes.append("the background class, row 0 of 1001, is left out")
    config_options, config_preprocessing = parse_model_config(raw.content)
    return Weights(
        source=source,
        path=path,
        origin=raw.format + f", names of {layout.zoo}" * (layout.zoo != raw.format),
        model=layout.model,
        options=options | config_options,
        state_dict=state_dict,
        class_names=[],
        preprocessing={"in_channels": options["in_channels"], **layout.preprocessing}
        | config_preprocessing,
        converted=sorted(set(converted)),
        ignored=[*raw.ignored, *ignored],
        notes=notes,
    )


def _split_names(raw: RawWeights) -> tuple[Tensors, list[str]]:
    """Split names into module and variable; also return the names that are not the net's."""
    with_ema = {name.removesuffix(EMA_SUFFIX) for name in raw.tensors if name.endswith(EMA_SUFFIX)}
    tensors: Tensors = {}
    ignored = []
    for name, tensor in raw.tensors.items():
        plain = name.removesuffix(EMA_SUFFIX)
        if name in with_ema or TRAINING_STATE.fullmatch(plain):
            ignored.append(name)
            continue
        module, _, variable = plain.rpartition("/" if "/" in plain else ".")
        tensors[module, VARIABLES.get(variable, variable)] = tensor
    return tensors, ignored


def _check_match(source: str, match: Match, modules: set[str], raw: RawWeights) -> None:
    """Raise ValueError for names that no layout knows and for layers that our nets lack."""
    layout = match.layout
    if prefix := find_foreign_prefix(raw.tensors):
        raise ValueError(
            f"{source} has names that all begin with {prefix!r}: save the state dict of the net "
            "itself, without that"
        )
    if 2 * len(match.positions) < len(modules) or not match.blocks:
        raise ValueError(
            f"{source} has names of no MobileNet known here, such as "
            f"{', '.join(list(raw.tensors)[:3])}; known are those of "
            f"{', '.join(dict.fromkeys(layout.zoo for layout in LAYOUTS))}"
        )
    foreign = [f"{module}: no layer of {layout.model}" for module in match.unknown]
    for module, position in match.positions.items():
        if position.role in layout.foreign and not position.is_norm:
            foreign.append(f"{module}: {layout.foreign[position.role]}")
    if foreign:
        raise ValueError(
            f"{source} (a {layout.model} of {layout.zoo}) has layers that {layout.model} can't "
            f"have here ({len(foreign)}):\n{abbreviate(sorted(foreign))}"
        )


def _convert_tensors(match: Match, tensors: Tensors) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict under our keys, and the keys of renamed or transposed tensors."""
    layout = match.layout
    state_dict: dict[str, Tensor] = {}
    converted = []
    for (module, variable), tensor in tensors.items():
        position = match.positions[module]
        key = f"{OURS[layout.model].name(position)}.{variable}"
        state_dict[key] = _transpose(tensor, position, layout)
        if key != f"{module}.{variable}" or state_dict[key].shape != tensor.shape:
            converted.append(key)
    return state_dict, converted


def _transpose(tensor: Tensor, position: Position, layout: Layout) -> Tensor:
    """Give a kernel PyTorch's axes: (out, in, H, W), depthwise (channels * multiplier, 1, H, W)."""
    if layout.tensorflow and tensor.ndim == 4:
        if position.role == "depthwise":  # (H, W, channels, multiplier)
            tensor = tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
        else:  # (H, W, in, out)
            tensor = tensor.permute(3, 2, 0, 1)
    elif layout.tensorflow and tensor.ndim == 2:
        tensor = tensor.T
    if position.role == "classifier" and tensor.ndim == 4:  # a 1x1 convolution after pooling
        tensor = tensor.flatten(1)
    return tensor.contiguous()
