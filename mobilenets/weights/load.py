"""Weights -> a net: as they are, or with other classes and channels than theirs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from mobilenets import models
from mobilenets.choices import check_choice
from mobilenets.weights.files import read_file
from mobilenets.weights.record import (
    RECORD_KEY,
    Weights,
    compare,
    find_checkpoint,
    from_record,
    record_of,
    shortened,
)
from mobilenets.weights.remote.hub import WEIGHT_FILES
from mobilenets.weights.remote.names import RemoteWeights, fetch, is_name
from mobilenets.weights.zoos.convert import convert
from mobilenets.weights.zoos.hub_configs import describe_snapshot

log = logging.getLogger("mobilenets")

# Options that weights leave open: they fit whatever these are, or are made to fit.
FREE_OPTIONS = ("num_classes", "in_channels", "dropout", "bn_momentum", "strides", "output_stride")
# Options that say nothing but shapes: where these agree, so do any two values.
SIZES = ("width_mult", "divisor", "stages", "shallow", "head_channels", "kernels_per_layer")
IMAGENET_CLASSES = 1000  # a net of so many is one for ImageNet
MOST_ROWS = 7  # of the table of an error, which has 15 lines at most
STEM, HEAD = "features.0.0.weight", ("classifier.1.weight", "classifier.1.bias")


@dataclass(frozen=True)
class Report:
    """What became of every tensor, by our keys; `ignored` by those of the file."""

    weights: Weights
    matched: list[str]
    converted: list[str]
    reinitialised: list[str]
    ignored: list[str]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        weights, expected = self.weights, self.weights.preprocessing
        counts = {
            "matched": self.matched,
            "converted": self.converted,
            "re-initialised": self.reinitialised,
            "ignored": self.ignored,
        }
        total = len(self.matched) + len(self.converted) + len(self.reinitialised)
        ignored = f" ({', '.join(self.ignored[:3])}{', ...' * (len(self.ignored) > 3)})"
        lines = [
            weights.source,
            f"{weights.origin}: {describe(weights)}",
            f"{total} tensors: {', '.join(f'{len(keys)} {word}' for word, keys in counts.items())}"
            + ignored * bool(self.ignored),
            *self.notes,
        ]
        if expected:
            lines.insert(2, "images: " + ", ".join(f"{k} {v}" for k, v in expected.items()))
        return "\n".join(f"{'' if i else 'weights':<8}{line}" for i, line in enumerate(lines))


def describe(weights: Weights) -> str:
    """The net in a few words: its name, its width, and what is unlike our defaults."""
    parameters = signature(models.MODELS[weights.model]).parameters
    words = [f"{weights.model} of width {weights.options['width_mult']:g}"]
    words += [
        f"{option} {value}"
        for option, value in weights.options.items()
        if option not in ("width_mult", "dropout")
        and _plain(value) != _plain(parameters[option].default)
    ]
    return ", ".join(words)


def load_weights(source: str | Path, num_classes: int | None = None) -> Weights:
    """The weights in a file or folder, or under a name; nothing in them is executed.

    Args:
        source: a checkpoint or run folder of this project, a file of another (README, "Pretrained
            weights"), or a name: "torchvision:IMAGENET1K_V2", "timm:mobilenetv1_100.ra4_...",
            "hf:OWNER/REPO", "https://...#sha256=...".
        num_classes: classes asked for; 1001 keeps the background class of TensorFlow's files.

    Raises:
        ValueError: no weights of a MobileNet that this project can build; says why.
    """
    source = str(source)
    if is_name(source):
        found = fetch(source)
    else:
        found = RemoteWeights(find_checkpoint(Path(source).expanduser()))
    stored = read_file(found.path)
    record = record_of(stored)
    if record is not None:
        return from_record(source, found.path, stored, record)
    if not is_name(source):
        found = snapshot(found.path)
    weights = convert(source, found.path, stored, num_classes)
    return replace(
        weights,
        options=weights.options | found.options,
        preprocessing=weights.preprocessing | found.preprocessing,
        class_names=found.class_names or class_names(weights),
    )


def snapshot(path: Path) -> RemoteWeights:
    """A local file or folder, with what the config files of a Hub repository say in it."""
    folder = path.parent if path.name in WEIGHT_FILES else path
    options, preprocessing = describe_snapshot(folder) if folder.is_dir() else ({}, {})
    return RemoteWeights(path, preprocessing, options=options)


def load_checkpoint(path: str | Path) -> Weights:
    """A checkpoint of this project, or the best one of a run folder, as eval.py takes it."""
    weights = load_weights(path)
    if not weights.config:
        raise ValueError(
            f"{path} is not a checkpoint of this project: it has no '{RECORD_KEY}' entry. "
            "Weights from elsewhere can start a run: model.weights=PATH."
        )
    return weights


def class_names(weights: Weights) -> list[str]:
    """ImageNet's names in the usual order for a net of 1000 classes, else none."""
    if weights.options["num_classes"] != IMAGENET_CLASSES:
        return []
    from torchvision.models import MobileNet_V2_Weights  # where torchvision keeps them

    return list(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def create_model(name: str, weights: str | Path | None = None, **options: Any) -> models.MobileNet:
    """Builds the net `name` (`list_models`), with trained weights if `weights` says whose.

    With weights, the net is what the file says: width, number of classes, input channels, epsilon,
    padding, activation and so on need not be given, and where they are, they have to agree.
    Another `num_classes` starts the classifier anew, other `in_channels` adapt the stem; dropout,
    bn_momentum, strides and output_stride are free. The net then carries `class_names`,
    `preprocessing`, `metrics` and `weights_report`, and is in evaluation mode.

    Args:
        name: a key of `mobilenets.models.MODELS`.
        weights: what `load_weights` takes: a file of any public zoo, or a name such as
            "torchvision:IMAGENET1K_V2"; None = a random start.
        options: those of the net's constructor.

    Raises:
        ValueError: an unknown name or option; a file that can't be read, or is of another net:
            the differences are listed.
    """
    if weights is None:
        return models.create_model(name, **options)
    return _build(load_weights(weights, options.get("num_classes")), name, options)


def load_model(path: str | Path, **options: Any) -> models.MobileNet:
    """`create_model` for weights that say themselves which net they are of.

    Args:
        path: what `load_weights` takes: our checkpoints, run folders and files, those of other
            zoos, or a name.
        options: as in `create_model`, such as num_classes for another head.
    """
    weights = load_weights(path, options.get("num_classes"))
    return _build(weights, weights.model, options)


def start_from(net: models.MobileNet, source: str | Path) -> Report:
    """Copies the weights that `load_weights` finds into a net, whose classifier may be another.

    Raises:
        ValueError: no weights, or those of another net: the differences are listed, and nothing
            is copied.
    """
    weights = load_weights(source, net.num_classes)
    _refuse_differences(weights, net.name, net.options)
    return _copy(weights, net)


def adapt_channels(kernel: Tensor, in_channels: int) -> Tensor:
    """The stem's kernel (out, in, H, W) for images with other channels, as in timm.

    For one channel the kernels of all are added up; for more they are repeated, and rescaled so
    that the sum over the channels stays what it was on average.
    """
    own = kernel.shape[1]
    if in_channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeated = kernel.repeat(1, -(-in_channels // own), 1, 1)[:, :in_channels]
    return repeated * (own / in_channels)


def adapt_preprocessing(preprocessing: Mapping[str, Any], in_channels: int) -> dict[str, Any]:
    """What a net expects whose stem was adapted: mean and std are averaged over the channels."""
    if preprocessing.get("in_channels", in_channels) == in_channels:
        return dict(preprocessing)
    averages = {key: [fmean(preprocessing[key])] for key in ("mean", "std")}
    return {**preprocessing, **averages, "in_channels": in_channels}


def _build(weights: Weights, name: str, options: Mapping[str, Any]) -> models.MobileNet:
    _refuse_differences(weights, name, options)
    net = models.create_model(name, **{**weights.options, **options})
    report = _copy(weights, net)
    log.info(str(report))
    same_classes = net.num_classes == weights.options["num_classes"]
    net.class_names = weights.class_names if same_classes else []
    net.preprocessing = adapt_preprocessing(weights.preprocessing, net.options["in_channels"])
    net.metrics = weights.metrics if same_classes else {}
    net.weights_report = report
    return net.eval()


def _copy(weights: Weights, net: models.MobileNet) -> Report:
    """Copies weights into a net that differs in its classifier and its stem at most."""
    own = net.state_dict()
    adapted = dict(weights.state_dict)
    notes, converted = list(weights.notes), set(weights.converted)
    new = [key for key in HEAD if key in own and _differs(adapted, own, key)]
    dropped = [key for key in HEAD if key in adapted and key not in own]
    if new or dropped:
        for key in HEAD:
            adapted.pop(key, None)
        new = [key for key in HEAD if key in own]
        notes.append(
            f"classifier newly initialised: {net.num_classes} classes, and "
            f"{weights.options['num_classes']} in the file"
            if new
            else "classifier left out"
        )
    channels = own[STEM].shape[1]
    if adapted[STEM].shape[1] != channels:
        notes.append(f"stem adapted from {adapted[STEM].shape[1]} to {channels} input channels")
        adapted[STEM] = adapt_channels(adapted[STEM], channels)
        converted.add(STEM)
    differences = compare(adapted, {key: own[key] for key in own if key not in new})
    assert not differences, differences
    net.load_state_dict(own | adapted)
    return Report(
        weights,
        matched=[key for key in adapted if key not in converted],
        converted=[key for key in adapted if key in converted],
        reinitialised=new,
        ignored=[*weights.ignored, *dropped],
        notes=notes,
    )


def _differs(found: Mapping[str, Tensor], own: Mapping[str, Tensor], key: str) -> bool:
    return key not in found or found[key].shape != own[key].shape


def _refuse_differences(weights: Weights, name: str, asked: Mapping[str, Any]) -> None:
    """Raises ValueError with a table of the options that disagree with the file's."""
    rows = [("model", weights.model, name)] if name != weights.model else []
    differences: list[str] = []
    if not rows:
        for option in asked:
            check_choice(f"{name}: option", option, signature(models.MODELS[name]).parameters)
        differences = _differences(weights, asked)
        rows = [
            (option, weights.options[option], value)
            for option, value in asked.items()
            if option in weights.options
            and option not in FREE_OPTIONS
            and _plain(value) != _plain(weights.options[option])
            and (differences or option not in SIZES)
        ]
    if rows:
        lines = [
            f"{weights.source} holds the weights of another net than the one asked for:",
            table([("option", "in the file", "asked for"), *rows[:MOST_ROWS]]),
            *([shortened(differences, 3)] if differences else []),
            "leave these options out, or set them as in the file",
        ]
        raise ValueError("\n".join(lines))


def _differences(weights: Weights, asked: Mapping[str, Any]) -> list[str]:
    """How the net asked for differs from the file's tensors, its stem and classifier aside."""
    theirs = {key: weights.options[key] for key in ("num_classes", "in_channels")}
    with torch.device("meta"):
        net = models.create_model(weights.model, **{**weights.options, **asked, **theirs})
    return compare(weights.state_dict, net.state_dict())


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows of cells in columns, indented."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in cells)
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
