"""Save a net's weights: in our format, or with the names of timm or torchvision."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilenets.atomic import atomic_path
from mobilenets.choices import check_choice
from mobilenets.models import MobileNet
from mobilenets.weights.record import RECORD_KEY, make_record
from mobilenets.weights.zoos.layouts import OURS, TIMM_V1, TIMM_V2, TORCHVISION_V2, Layout

FORMATS: dict[str, dict[str, Layout]] = {  # format -> net -> names
    "mobilenets": OURS,
    "timm": {"mobilenet_v1": TIMM_V1, "mobilenet_v2": TIMM_V2},
    "torchvision": {"mobilenet_v2": TORCHVISION_V2},
}
PAPER = {  # options that the nets of timm and torchvision don't have
    "conv": "depthwise",
    "shallow": False,
    "kernels_per_layer": 1,
    "bottleneck": "linear",
    "residual": "bottleneck",
}
FIXED = {
    "timm": PAPER,
    "torchvision": {**PAPER, "bn_eps": 1e-5, "padding": "symmetric", "activation": "relu6"},
}
TIMM_V1_STAGES = (1, 2, 2, 6, 2)  # blocks per stage, which begins where the channels change


def save_model(
    net: MobileNet,
    path: str | Path,
    *,
    format: str = "mobilenets",
    class_names: list[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    command: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> str:
    """Save the weights of a net; the file is written whole or not at all.

    Args:
        net: one of our nets.
        path: ends in .safetensors, or for the other formats in .pth, .pt or .bin too.
        format: "mobilenets" = our names, with a record of the net's options, class_names,
            preprocessing, metrics, command and config; `load_model` needs nothing else. "timm" and
            "torchvision" = their names and shapes, for their `load_state_dict`.
        class_names: name of class i at position i; None = the net's own.
        preprocessing: see `mobilenets.weights.Weights`; None = the net's own.
        metrics: metrics by name, such as "test/top1", a fraction of 1; None = the net's own.
        command: the command line that made the weights.
        config: the configuration of the run, which lets eval.py evaluate the file.

    Returns:
        How to load the file.

    Raises:
        ValueError: another suffix, or a net that the other library does not have.
        OSError: the file can't be written.
    """
    check_choice("format", format, FORMATS)
    path = Path(path)
    suffixes = (".safetensors",) + (".pth", ".pt", ".bin") * (format != "mobilenets")
    if path.suffix not in suffixes:
        raise ValueError(f"{path} has to end in {' or '.join(suffixes)} for format={format}")
    if format == "mobilenets":
        record = make_record(
            net,
            net.class_names if class_names is None else class_names,
            net.preprocessing if preprocessing is None else preprocessing,
            config,
            metrics=net.metrics if metrics is None else metrics,
            command=command,
        )
        metadata = {RECORD_KEY: json.dumps(record)}
        tensors = net.state_dict()
    else:
        metadata, tensors = {}, rename_tensors(net, format)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        if path.suffix == ".safetensors":
            from safetensors.torch import save

            file.write(save(tensors, {"format": "pt", **metadata}))
        else:
            torch.save(tensors, file)
    return loading_hint(net, path, format)


def loading_hint(net: MobileNet, path: Path, format: str) -> str:
    """Return how to load the file in the library whose format it has."""
    options = net.options
    if format == "mobilenets":
        return f'mobilenets.load_model("{path}")'
    arguments = [f"num_classes={options['num_classes']}"]
    if format == "timm":
        arguments += ["pad_type='same'"] * (options["padding"] == "same")
        arguments += [f"bn_eps={options['bn_eps']}"] * (options["bn_eps"] != 1e-5)
        arguments += [f"act_layer='{options['activation']}'"] * (options["activation"] != "relu6")
    model = f"{net.name.replace('net_', 'net')} of width {options['width_mult']:g}"
    return f"load_state_dict of {format}'s {model} built with {', '.join(arguments)}"


def rename_tensors(net: MobileNet, format: str) -> dict[str, Tensor]:
    """Return the state dict of a net under the names of another library."""
    if net.name not in FORMATS[format]:
        raise ValueError(f"{format} has no {net.name}: use another format")
    unsupported = {
        option: net.options[option]
        for option, value in FIXED[format].items()
        if net.options.get(option, value) != value
    }
    if unsupported:
        options = ", ".join(f"{option}={value!r}" for option, value in unsupported.items())
        raise ValueError(f"{format}'s {net.name} can't be built with {options}: use another format")
    layout, lengths = FORMATS[format][net.name], list(TIMM_V1_STAGES)
    if net.name == "mobilenet_v2":
        lengths = [blocks for _, _, blocks, _ in net.options["stages"]]
    stages = [(stage, i) for stage, length in enumerate(lengths) for i in range(length)]
    state_dict = net.state_dict()
    positions = OURS[net.name].match({key.rpartition(".")[0] for key in state_dict}).positions
    tensors = {}
    for key, tensor in state_dict.items():
        module, _, variable = key.rpartition(".")
        position = positions[module]
        in_block = position.block is not None and position.role != "head"
        indices = stages[position.block] if in_block else ()  # type: ignore[index]
        name = layout.name(position, *indices)
        tensors[f"{name}.{variable}"] = tensor
    return tensors
