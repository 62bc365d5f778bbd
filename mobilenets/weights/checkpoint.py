"""Our checkpoints: a Lightning file that also says which net it holds and what that expects."""

import pickle
import warnings
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets import __version__
from mobilenets.models import create_model

RECORD_KEY = "mobilenets"  # the entry of the file that holds the record
EMA_PREFIX, NET_PREFIX = "ema.module.", "net."


def make_record(
    net: nn.Module, class_names: list[str], preprocessing: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """What a run writes into its checkpoints, as plain data: the counterpart of `Checkpoint`."""
    return {
        "version": __version__,
        "model": {"name": net.name, "options": net.options},
        "class_names": class_names,
        "preprocessing": preprocessing,
        "config": config,
    }


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    Attributes:
        path: the file that was read.
        model: the net's name and options, as `create_model` takes them.
        state_dict: the weights that the run evaluated: their average where one was kept.
        class_names: name of class i at position i.
        preprocessing: image_size, in_channels, mean, std, crop_pct, interpolation.
        config: the run's whole configuration, as plain data.
        epoch: the number of epochs that were complete.
    """

    path: Path
    model: dict[str, Any]
    state_dict: dict[str, Tensor]
    class_names: list[str]
    preprocessing: dict[str, Any]
    config: dict[str, Any]
    epoch: int

    def build(self) -> nn.Module:
        """The net with its weights, in evaluation mode."""
        net = create_model(self.model["name"], **self.model["options"])
        net.load_state_dict(self.state_dict)
        return net.eval()

    def check_classes(self, class_names: list[str]) -> None:
        """Raises ValueError where the data's classes are not those the net was trained on."""
        if class_names == self.class_names:
            return
        both = list(enumerate(zip_longest(class_names, self.class_names)))
        number, (found, own) = next(pair for pair in both if pair[1][0] != pair[1][1])
        raise ValueError(
            f"{self.path} was trained on other classes: number {number} is {own!r} there and "
            f"{found!r} in the data ({len(self.class_names)} and {len(class_names)} classes); "
            "point data.root at the data it was trained on"
        )


def load_model(path: str | Path) -> nn.Module:
    """The trained net of a checkpoint or run folder, in evaluation mode on the CPU.

    It carries what its answers mean: `class_names` (list) and `preprocessing` (dict).
    """
    checkpoint = read_checkpoint(path)
    net = checkpoint.build()
    net.class_names = checkpoint.class_names  # type: ignore[assignment]
    net.preprocessing = checkpoint.preprocessing  # type: ignore[assignment]
    return net


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a .ckpt of a run, or the best one of a run folder, without executing anything in it."""
    path = find_checkpoint(Path(path))
    content = read_tensors(path)
    if RECORD_KEY not in content or "state_dict" not in content:
        raise ValueError(
            f"{path} is not a checkpoint of this project: it has no '{RECORD_KEY}' entry. "
            "Weights from elsewhere can start a run: model.weights=PATH."
        )
    record = content[RECORD_KEY]
    return Checkpoint(
        path=path,
        state_dict=evaluated_weights(content["state_dict"]),
        epoch=content["epoch"] + 1,
        **{key: record[key] for key in ("model", "class_names", "preprocessing", "config")},
    )


def find_checkpoint(path: Path) -> Path:
    """The file itself, or a run folder's best.ckpt, or its last.ckpt where there is no best."""
    if path.is_dir():
        found = [path / name for name in ("best.ckpt", "last.ckpt") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds no best.ckpt or last.ckpt: is it a run folder?")
        return found[0]
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give a .ckpt file or a run folder")
    return path


def read_tensors(path: Path) -> dict[str, Any]:
    """The dict in a file written by `torch.save`, on the CPU; plain data and tensors only."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's advice on odd pickles
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        if "GLOBAL" in str(error):  # a well-formed pickle that wants to import something
            raise ValueError(
                f"{path} holds more than tensors and plain data, so it was not opened: "
                "save its state_dict alone and use that"
            ) from error
        raise ValueError(
            f"{path} is not a checkpoint: torch.save did not write it, or it is damaged"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    return content


def evaluated_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the net that the run evaluated, without the LightningModule's prefix."""
    averaged = any(key.startswith(EMA_PREFIX) for key in state_dict)
    prefix = EMA_PREFIX if averaged else NET_PREFIX
    return {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
