"""How weights differ from the net that they are for."""

from collections.abc import Mapping
from inspect import signature
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from mobilenets.choices import check_choice
from mobilenets.console import format_table
from mobilenets.models import MODELS, create_model
from mobilenets.weights.record import Weights
from mobilenets.weights.zoos.infer_options import guess_net

# Options that may differ from the file's: weights fit any value, or are adapted to it.
FREE_OPTIONS = ("num_classes", "in_channels", "dropout", "bn_momentum", "strides", "output_stride")
# Options that only set shapes: values that give the same shapes are the same.
SIZES = ("width_mult", "divisor", "stages", "shallow", "head_channels", "kernels_per_layer")
COUNTER = ".num_batches_tracked"  # of BatchNorm; it has no effect here, and many files lack it
MAX_ROWS = 7  # of the table in an error, which has 15 lines at most


def check_weights(weights: Weights) -> None:
    """Raise ValueError if the tensors or class names are not those of the net in `options`."""
    try:
        with torch.device("meta"):
            expected = create_model(weights.model, **weights.options).state_dict()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights.source} is of a net that can't be built: {error}") from None
    if differences := list_differences(weights.state_dict, expected):
        raise ValueError(
            f"{weights.source} does not hold the tensors of a {weights.model} "
            f"({weights.origin}; {len(differences)} differences):\n{abbreviate(differences)}"
            f"{guess_net(weights.state_dict)}"
        )
    names, num_classes = weights.class_names, weights.options.get("num_classes")
    if names and num_classes and len(names) != num_classes:
        raise ValueError(
            f"{weights.path} has names for {len(names)} classes and weights for {num_classes}: get "
            "the file again"
        )


def check_options(weights: Weights, name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError with a table of differences if the weights are of another net.

    Args:
        weights: what was read.
        name: the net that was asked for.
        options: its options, as far as they were asked for.
    """
    rows: list[tuple[str, Any, Any]] = []
    differences: list[str] = []
    if name != weights.model:
        rows = [("model", weights.model, name)]
    else:
        for option in options:
            check_choice(f"{name}: option", option, signature(MODELS[name]).parameters)
        differences = _compare_with_net(weights, options)
        rows = [
            (option, weights.options[option], value)
            for option, value in options.items()
            if option in weights.options
            and option not in FREE_OPTIONS
            and to_lists(value) != to_lists(weights.options[option])
            and (differences or option not in SIZES)
        ]
    if rows:
        header = ("option", "in the file", "asked for")
        table = format_table(header, rows[:MAX_ROWS], left=range(3)).splitlines()
        lines = [
            f"{weights.source} holds the weights of another net than the one asked for:",
            *(f"  {line}" for line in table),
            *([abbreviate(differences, max_lines=3)] if differences else []),
            "leave these options out, or set them as in the file",
        ]
        raise ValueError("\n".join(lines))


def list_differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """List tensors that are missing, unexpected, or of another shape or type, one per line.

    A missing `COUNTER` is no difference. The first lines have two of each kind.
    """
    shared = [key for key in expected if key in found]
    kinds = [
        [
            f"{key}: missing in the file"
            for key in expected
            if key not in found and not key.endswith(COUNTER)
        ],
        [f"{key}: not in the net" for key in found if key not in expected],
        [
            f"{key}: {tuple(found[key].shape)} in the file, {tuple(expected[key].shape)} in the net"
            for key in shared
            if found[key].shape != expected[key].shape
        ],
        [
            f"{key}: {str(found[key].dtype)[6:]} in the file, not floating-point numbers"
            for key in shared
            if expected[key].is_floating_point() and not found[key].is_floating_point()
        ],
    ]
    return [*chain(*(lines[:2] for lines in kinds)), *chain(*(lines[2:] for lines in kinds))]


def abbreviate(lines: list[str], max_lines: int = 8) -> str:
    """Return the first lines, indented, and how many more there are."""
    rest = [f"... and {len(lines) - max_lines} more"] * (len(lines) > max_lines)
    return "\n".join(f"  {line}" for line in [*lines[:max_lines], *rest])


def to_lists(value: Any) -> Any:
    """Return the value with every tuple in it as a list, as in files."""
    return [to_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _compare_with_net(weights: Weights, options: Mapping[str, Any]) -> list[str]:
    """List differences from the net with these options, its stem and classifier aside."""
    adapted = {key: weights.options[key] for key in ("num_classes", "in_channels")}
    with torch.device("meta"):
        net = create_model(weights.model, **{**weights.options, **options, **adapted})
    return list_differences(weights.state_dict, net.state_dict())
