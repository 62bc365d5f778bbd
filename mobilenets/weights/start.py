"""Starting a new run from weights that exist: `model.weights=PATH`."""

from pathlib import Path

from torch import Tensor, nn

from mobilenets.weights.checkpoint import (
    EMA_PREFIX,
    NET_PREFIX,
    evaluated_weights,
    find_checkpoint,
    read_tensors,
)


def start_from(net: nn.Module, path: str | Path) -> str:
    """Copies the weights of `path` into `net`; returns one sentence that says what was done.

    `path` is a checkpoint or run folder of this project, or a state dict with this project's
    keys: for MobileNetV2 these are torchvision's. A classifier for another number of classes
    keeps its random start; any other difference is a ValueError that lists it.
    """
    path = find_checkpoint(Path(path))
    weights = read_tensors(path)
    weights = weights.get("state_dict", weights)
    if any(key.startswith((EMA_PREFIX, NET_PREFIX)) for key in weights):
        weights = evaluated_weights(weights)

    own = net.state_dict()
    head = [
        key
        for key in own
        if key.startswith("classifier.") and key in weights and not fits(weights[key], own[key])
    ]
    differences = [f"{key}: missing in the file" for key in own if key not in weights]
    differences += [f"{key}: not in the net" for key in weights if key not in own]
    differences += [
        f"{key}: {shape(weights[key])} in the file, {shape(own[key])} in the net"
        for key in own
        if key in weights and key not in head and not fits(weights[key], own[key])
    ]
    if differences:
        shown = differences[:8] + ["..."] * (len(differences) > 8)
        raise ValueError(
            f"{path} does not hold the weights of this net ({len(differences)} differences; "
            "check model and model.width_mult):\n  " + "\n  ".join(shown)
        )
    net.load_state_dict({key: own[key] if key in head else weights[key] for key in own})
    new = ", classifier newly initialised (another number of classes)" if head else ""
    return f"{len(own) - len(head)} of {len(own)} tensors from {path}{new}"


def fits(found: object, own: Tensor) -> bool:
    """Whether a value of the file can take the place of the net's."""
    return isinstance(found, Tensor) and found.shape == own.shape


def shape(value: object) -> str:
    """A tensor's shape for a message, or what stands there instead."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
