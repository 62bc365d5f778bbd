"""Other people's weights -> ours: names, axes, the background class, and the net's options."""

import re
from pathlib import Path

from torch import Tensor

from mobilenets.weights.files import RawWeights
from mobilenets.weights.record import Weights, check_tensors, shortened
from mobilenets.weights.zoos.infer_options import foreign_prefix, infer_options
from mobilenets.weights.zoos.keras_names import expectations, named_by_order
from mobilenets.weights.zoos.layouts import LAYOUTS, OURS, Layout, Match, Place, best_match

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
AVERAGE = "/ExponentialMovingAverage"  # TF-slim's copy of a variable, the one to evaluate
LEFTOVERS = re.compile(  # what training leaves beside the variables of a net
    r"global_step|.*/(RMSProp|Momentum|Adam)(_\d+)?|beta\d_power|(.*/)?(iterations|seed_generator.*)"
)
BACKGROUND = 1001  # classes of TensorFlow's ImageNet, the first being none
Tensors = dict[tuple[str, str], Tensor]  # (module, variable as PyTorch calls it) -> values


def convert(source: str, path: Path, stored: RawWeights, num_classes: int | None = None) -> Weights:
    """The weights of a file that is not ours.

    Args:
        source: the path or name that was given, for messages.
        path: the file or folder that was read.
        stored: what it holds.
        num_classes: classes asked for; 1001 keeps the row of the background.

    Raises:
        ValueError: unknown names, tensors without a place or missing, or a net that ours can't be.
    """
    tensors, ignored = _variables(stored)
    tensors = named_by_order(tensors)
    modules = {module for module, _ in tensors}
    match = best_match(modules)
    _refuse(source, match, modules, stored)
    layout = match.layout
    state_dict, converted = _ours(match, tensors)
    try:
        options = {**layout.options, **infer_options(match, state_dict)}
    except ValueError as error:
        raise ValueError(f"{source} (a {layout.model} of {layout.zoo}) {error}") from error

    notes = []
    if options["num_classes"] == BACKGROUND != num_classes:
        for key in {"classifier.1.weight", "classifier.1.bias"} & state_dict.keys():
            state_dict[key] = state_dict[key][1:]
            converted.append(key)
        options["num_classes"] -= 1
        notes.append("the background class, row 0 of 1001, is left out")
    said = expectations(stored.content)
    weights = Weights(
        source=source,
        path=path,
        origin=stored.format + f", names of {layout.zoo}" * (layout.zoo != stored.format),
        model=layout.model,
        options=options | said.options,
        state_dict=state_dict,
        class_names=[],
        preprocessing={"in_channels": options["in_channels"], **layout.preprocessing}
        | said.preprocessing,
        converted=sorted(set(converted)),
        ignored=[*stored.ignored, *ignored],
        notes=notes,
    )
    check_tensors(weights)
    return weights


def _variables(stored: RawWeights) -> tuple[Tensors, list[str]]:
    """The tensors by module and variable, and the names of those that are of no use."""
    averaged = {name.removesuffix(AVERAGE) for name in stored.tensors if name.endswith(AVERAGE)}
    tensors: Tensors = {}
    ignored = []
    for name, tensor in stored.tensors.items():
        plain = name.removesuffix(AVERAGE)
        if name in averaged or LEFTOVERS.fullmatch(plain):
            ignored.append(name)
            continue
        module, _, variable = plain.rpartition("/" if "/" in plain else ".")
        tensors[module, VARIABLES.get(variable, variable)] = tensor
    return tensors, ignored


def _refuse(source: str, match: Match, modules: set[str], stored: RawWeights) -> None:
    """Raises ValueError for names of nobody known and for layers that our nets lack."""
    layout = match.layout
    if prefix := foreign_prefix(stored.tensors):
        raise ValueError(
            f"{source} has names that all begin with {prefix!r}: save the state dict of the net "
            "itself, without that"
        )
    if 2 * len(match.places) < len(modules) or not match.blocks:
        raise ValueError(
            f"{source} has names of no MobileNet known here, such as "
            f"{', '.join(list(stored.tensors)[:3])}; known are those of "
            f"{', '.join(dict.fromkeys(layout.zoo for layout in LAYOUTS))}"
        )
    foreign = [f"{module}: no layer of {layout.model}" for module in match.unknown]
    for module, place in match.places.items():
        if place.role in layout.foreign and not place.norm:
            foreign.append(f"{module}: {layout.foreign[place.role]}")
    if foreign:
        raise ValueError(
            f"{source} (a {layout.model} of {layout.zoo}) has layers that {layout.model} can't "
            f"have here ({len(foreign)}):\n{shortened(sorted(foreign))}"
        )


def _ours(match: Match, tensors: Tensors) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict under our keys, and those of them with another name or other axes there."""
    layout = match.layout
    state_dict: dict[str, Tensor] = {}
    converted = []
    for (module, variable), tensor in tensors.items():
        place = match.places[module]
        key = f"{OURS[layout.model].name(place)}.{variable}"
        state_dict[key] = _with_our_axes(tensor, place, layout)
        if key != f"{module}.{variable}" or state_dict[key].shape != tensor.shape:
            converted.append(key)
    return state_dict, converted


def _with_our_axes(tensor: Tensor, place: Place, layout: Layout) -> Tensor:
    """A kernel as PyTorch has it: (out, in, H, W), depthwise (channels * multiplier, 1, H, W)."""
    if layout.tensorflow and tensor.ndim == 4:
        if place.role == "depthwise":  # (H, W, channels, multiplier)
            tensor = tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
        else:
            tensor = tensor.permute(3, 2, 0, 1)
    elif layout.tensorflow and tensor.ndim == 2:
        tensor = tensor.T
    if place.role == "classifier" and tensor.ndim == 4:  # a 1x1 convolution over the pooled map
        tensor = tensor.flatten(1)
    return tensor.contiguous()
