"""Our own files: weights, and the record that says which net they are of and what it expects.

A .ckpt of a run and a .safetensors file of `save_model` carry the same record.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mobilenets import __version__
from mobilenets.models import MobileNet, create_model
from mobilenets.weights.files import IN_FOLDERS, RawWeights
from mobilenets.weights.zoos.infer_options import guess_net

RECORD_KEY = "mobilenets"  # the entry of a file that holds the record
T = TypeVar("T")
COUNTER = ".num_batches_tracked"  # of a norm; its value is not used, and many files lack it


def make_record(
    net: nn.Module,
    class_names: list[str],
    preprocessing: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """What our files say of the weights in them, as plain data; `from_record` reads it back."""
    return {
        "version": __version__,
        "model": {"name": net.name, "options": net.options},
        "class_names": class_names,
        "preprocessing": dict(preprocessing),
        "config": config,
        "metrics": dict(metrics or {}),
        "command": command,
    }


@dataclass(frozen=True)
class Weights:
    """Weights of one of our nets, wherever they come from, and what is known of them.

    Attributes:
        source: the path or name that was given.
        path: the file or folder that was read.
        origin: whose names the file used, and its format.
        model: the net, as `create_model` calls it.
        options: its options, as far as the file tells them.
        state_dict: the tensors under our keys; of a run that kept an average, the average.
        class_names: name of class i at position i; empty where nobody says.
        preprocessing: image_size, in_channels, mean, std, crop_pct, interpolation. Mean and std are
            those of pixels from 0 to 1; 0.5 and 0.5 make inputs from -1 to 1.
        metrics: figures by name, such as "val/top1", a fraction of 1.
        command: the command line of the run.
        config: the run's whole configuration, as plain data; empty where there was no run.
        activation_ranges: of quantization-aware training, the least and the largest input of each
            layer by its name; empty where there was none.
        converted: those of our keys whose tensor has another name or other axes in the file.
        ignored: the names in the file that are of no use here.
        notes: what was assumed, a sentence each.
    """

    source: str
    path: Path
    origin: str
    model: str
    options: dict[str, Any]
    state_dict: dict[str, Tensor]
    class_names: list[str]
    preprocessing: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    command: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    activation_ranges: dict[str, list[float]] = field(default_factory=dict)
    converted: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def build(self) -> MobileNet:
        """The net with its weights, in evaluation mode on the CPU."""
        net = create_model(self.model, **self.options)
        net.load_state_dict(net.state_dict() | self.state_dict)  # COUNTER may be missing
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


def record_of(stored: RawWeights) -> dict[str, Any] | None:
    """The record in a file, of safetensors a text of JSON; None if it is not one of ours."""
    record = stored.content.get(RECORD_KEY)
    if isinstance(record, str):
        with suppress(ValueError):  # `from_record` says that it is damaged
            return json.loads(record)
    return record


def from_record(source: str, path: Path, stored: RawWeights, record: Mapping[str, Any]) -> Weights:
    """The weights of one of our own files.

    Raises:
        ValueError: the record is damaged, or the tensors are not those of the net that it names.
    """
    try:
        weights = Weights(
            source=source,
            path=path,
            origin=f"mobilenets {record['version']}, {stored.format}",
            model=record["model"]["name"],
            options=_a(dict, record["model"]["options"]),
            state_dict=stored.tensors,
            class_names=[_a(str, name) for name in _a(list, record["class_names"])],
            preprocessing=_a(dict, record["preprocessing"]),
            config=_a(dict, record["config"] or {}),
            metrics=_a(dict, record.get("metrics", {})) | _test_metrics(path),
            command=record.get("command"),
            activation_ranges={
                _a(str, name): _two_floats(limits)
                for name, limits in record.get("activation_ranges", {}).items()
            },
            ignored=stored.ignored,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged record ({error!r}): get the file again") from error
    check_tensors(weights)
    names, num_classes = weights.class_names, weights.options.get("num_classes")
    if names and num_classes and len(names) != num_classes:
        raise ValueError(
            f"{path} has names for {len(names)} classes and weights for {num_classes}: get the "
            "file again"
        )
    return weights


def _a(kind: type[T], value: Any) -> T:
    """The value, which has to be of that type."""
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} is no {kind.__name__}")
    return value


def _two_floats(value: Any) -> list[float]:
    if len(_a(list, value)) != 2:
        raise TypeError(f"{str(value)[:40]!r} is no pair")
    return [_a(float, number) for number in value]


def check_tensors(weights: Weights) -> None:
    """Raises ValueError unless the tensors are those of the net that `options` build."""
    try:
        with torch.device("meta"):
            expected = create_model(weights.model, **weights.options).state_dict()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights.source} is of a net that can't be built: {error}") from None
    if differences := compare(weights.state_dict, expected):
        raise ValueError(
            f"{weights.source} does not hold the tensors of a {weights.model} "
            f"({weights.origin}; {len(differences)} differences):\n{shortened(differences)}"
            f"{guess_net(weights.state_dict)}"
        )


def compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What is missing (but for `COUNTER`), unexpected, of another shape or type, a line each.

    The first lines have two of each kind.
    """
    both = [key for key in expected if key in found]
    kinds = [
        [
            f"{key}: missing in the file"
            for key in expected
            if key not in found and not key.endswith(COUNTER)
        ],
        [f"{key}: not in the net" for key in found if key not in expected],
        [
            f"{key}: {tuple(found[key].shape)} in the file, {tuple(expected[key].shape)} in the net"
            for key in both
            if found[key].shape != expected[key].shape
        ],
        [
            f"{key}: {str(found[key].dtype)[6:]} in the file, not floating-point numbers"
            for key in both
            if expected[key].is_floating_point() and not found[key].is_floating_point()
        ],
    ]
    return [*chain(*(lines[:2] for lines in kinds)), *chain(*(lines[2:] for lines in kinds))]


def shortened(lines: list[str], most: int = 8) -> str:
    """The first lines, indented, and how many more there are."""
    rest = [f"... and {len(lines) - most} more"] * (len(lines) > most)
    return "\n".join(f"  {line}" for line in [*lines[:most], *rest])


def find_checkpoint(path: Path) -> Path:
    """The file itself, or a run folder's best.ckpt, or its last.ckpt where there is no best.

    Other folders stay as they are: TensorFlow.js and Hugging Face use them.
    """
    for name in ("best.ckpt", "last.ckpt"):
        if (path / name).is_file():
            return path / name
    if not path.exists():
        raise ValueError(f"there is no file {path}: give a file of weights or a run folder")
    if path.is_dir() and not any((path / name).is_file() for name in IN_FOLDERS):
        raise ValueError(
            f"{path} holds no best.ckpt or last.ckpt, and no {', '.join(IN_FOLDERS)}: "
            "give a run folder or a file of weights"
        )
    return path


def _test_metrics(path: Path) -> dict[str, float]:
    """The figures of the test at the end of the run, which was that of best.ckpt."""
    file = path.with_name("metrics.json")
    if path.name != "best.ckpt" or not file.is_file():
        return {}
    try:
        return _a(dict, json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is damaged: delete it, `eval.py` measures anew") from None
