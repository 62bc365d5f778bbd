"""Our own files: weights, and the record that says which net they are of and what it expects.

A .ckpt of a run and a .safetensors file of `save_model` carry the same record.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from mobilenets import __version__
from mobilenets.models import MobileNet, create_model
from mobilenets.run_folder import BEST
from mobilenets.weights.files import RawWeights

RECORD_KEY = "mobilenets"  # the entry of a file that holds the record
T = TypeVar("T")


def make_record(
    net: nn.Module,
    class_names: list[str],
    preprocessing: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Make the record of a file, as plain data; `Weights.from_record` parses it."""
    return {
        "version": __version__,
        "model": {"name": net.name, "options": net.options},
        "class_names": class_names,
        "preprocessing": dict(preprocessing),
        "config": config,
        "metrics": dict(metrics or {}),
        "command": command,
    }


def find_record(raw: RawWeights) -> dict[str, Any] | None:
    """Return the record in a file's content, None if the file is not ours."""
    record = raw.content.get(RECORD_KEY)
    if isinstance(record, str):  # safetensors holds text only
        with suppress(ValueError):  # `from_record` raises that it is damaged
            return json.loads(record)
    return record


@dataclass(frozen=True)
class Weights:
    """Weights of one of our nets, from a file of any origin, and what is known about them.

    Attributes:
        source: the path or name that the user gave.
        path: the file or folder that was read.
        origin: whose names the file used, and its format.
        model: the net, as `create_model` calls it.
        options: its options, as far as the file shows them.
        state_dict: the tensors under our keys; the EMA if the run kept one.
        class_names: name of class i at position i; empty if unknown.
        preprocessing: image_size, in_channels, mean, std, crop_pct, interpolation. Mean and std are
            those of pixels from 0 to 1; 0.5 and 0.5 make inputs from -1 to 1.
        metrics: metrics by name, such as "val/top1", a fraction of 1.
        command: the command line of the run.
        config: the whole configuration of the run, as plain data; empty without a run.
        activation_ranges: minimum and maximum input of each layer by its name, as measured by
            quantization-aware training; empty without it.
        converted: our keys of tensors that have other names or axes in the file.
        ignored: names in the file that are not used.
        notes: what was assumed, one sentence each.
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

    @classmethod
    def from_record(
        cls, source: str, path: Path, raw: RawWeights, record: Mapping[str, Any]
    ) -> "Weights":
        """Make the weights of one of our own files.

        Raises:
            ValueError: the record is damaged.
        """
        try:
            return cls(
                source=source,
                path=path,
                origin=f"mobilenets {record['version']}, {raw.format}",
                model=record["model"]["name"],
                options=_expect(dict, record["model"]["options"]),
                state_dict=raw.tensors,
                class_names=[_expect(str, name) for name in _expect(list, record["class_names"])],
                preprocessing=_expect(dict, record["preprocessing"]),
                config=_expect(dict, record["config"] or {}),
                metrics=_expect(dict, record.get("metrics", {})) | _read_test_metrics(path),
                command=record.get("command"),
                activation_ranges={
                    _expect(str, name): _expect_pair(limits)
                    for name, limits in record.get("activation_ranges", {}).items()
                },
                ignored=raw.ignored,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} has a damaged record ({error!r}): get the file again"
            ) from error

    def build(self) -> MobileNet:
        """Build the net with its weights, in evaluation mode on the CPU."""
        net = create_model(self.model, **self.options)
        net.load_state_dict(net.state_dict() | self.state_dict)  # counters may be missing
        return net.eval()

    def check_classes(self, class_names: list[str]) -> None:
        """Raise ValueError unless the data has the classes that the net was trained on."""
        if class_names == self.class_names:
            return
        pairs = enumerate(zip_longest(class_names, self.class_names))
        number, (found, own) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"{self.path} was trained on other classes: number {number} is {own!r} there and "
            f"{found!r} in the data ({len(self.class_names)} and {len(class_names)} classes); "
            "point data.root at the data it was trained on"
        )


def _read_test_metrics(path: Path) -> dict[str, float]:
    """Read the metrics of the test at the end of a run, which was that of best.ckpt."""
    file = path.with_name("metrics.json")
    if path.name != BEST or not file.is_file():
        return {}
    try:
        return _expect(dict, json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise ValueError(f"{file} is damaged: delete it, `eval.py` measures again") from None


def _expect(kind: type[T], value: Any) -> T:
    """Return the value, or raise TypeError if it is of another type."""
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} is not a {kind.__name__}")
    return value


def _expect_pair(value: Any) -> list[float]:
    """Return a list of two numbers, or raise TypeError."""
    if len(_expect(list, value)) != 2:
        raise TypeError(f"{str(value)[:40]!r} is not a pair")
    return [_expect(float, number) for number in value]
