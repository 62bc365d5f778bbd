"""Load weights into a net: as they are, or adapted to other classes and channels."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from mobilenets import models
from mobilenets.run_folder import BEST, LAST
from mobilenets.weights.differences import check_options, check_weights, list_differences
from mobilenets.weights.files import HUB_FILES, read_raw_weights
from mobilenets.weights.record import RECORD_KEY, Weights, find_record
from mobilenets.weights.remote.names import RemoteWeights, fetch, is_name
from mobilenets.weights.report import Report
from mobilenets.weights.zoos.convert import convert
from mobilenets.weights.zoos.hub_configs import read_hub_configs

log = logging.getLogger("mobilenets")

IMAGENET_CLASSES = 1000  # a net with this many is taken for one of ImageNet
STEM, HEAD = "features.0.0.weight", ("classifier.1.weight", "classifier.1.bias")


def load_weights(source: str | Path, num_classes: int | None = None) -> Weights:
    """Load the weights in a file or folder, or under a name; nothing in them is executed.

    Args:
        source: a checkpoint or run folder of this project, a file of another (README, "Pretrained
            weights"), or a name: "torchvision:IMAGENET1K_V2", "timm:mobilenetv1_100.ra4_...",
            "hf:OWNER/REPO", "https://...#sha256=...".
        num_classes: what the user asked for; 1001 keeps the background class of TensorFlow's files.

    Raises:
        ValueError: there are no weights, or not of a MobileNet that this project can build.
    """
    source = str(source)
    if is_name(source):
        found = fetch(source)
    else:
        found = RemoteWeights(_find_checkpoint(Path(source).expanduser()))
    raw = read_raw_weights(found.path)
    record = find_record(raw)
    if record is not None:
        weights = Weights.from_record(source, found.path, raw, record)
    else:
        if not is_name(source):
            found = _add_hub_configs(found)
        weights = convert(source, found.path, raw, num_classes)
        weights = replace(
            weights,
            options=weights.options | found.options,
            preprocessing=weights.preprocessing | found.preprocessing,
            class_names=found.class_names or _list_class_names(weights),
        )
    check_weights(weights)
    return weights


def load_checkpoint(path: str | Path) -> Weights:
    """Load a checkpoint of this project, or the best one of a run folder."""
    weights = load_weights(path)
    if not weights.config:
        raise ValueError(
            f"{path} is not a checkpoint of this project: it has no '{RECORD_KEY}' entry. "
            "Weights from elsewhere can start a run: model.weights=PATH."
        )
    return weights


def create_model(name: str, weights: str | Path | None = None, **options: Any) -> models.MobileNet:
    """Build the net `name` (see `list_models`), with trained weights if `weights` is given.

    With weights, the net has the options of the file: width, number of classes, input channels,
    epsilon, padding, activation and so on need not be given, and must agree if they are. A
    different `num_classes` re-initialises the classifier, other `in_channels` adapt the stem;
    dropout, bn_momentum, strides and output_stride are free. The net then has `class_names`,
    `preprocessing`, `metrics` and `weights_report`, and is in evaluation mode.

    Args:
        name: a key of `mobilenets.models.MODELS`.
        weights: what `load_weights` takes: a file of any public zoo, or a name such as
            "torchvision:IMAGENET1K_V2"; None = random weights.
        options: those of the net's constructor.

    Raises:
        ValueError: an unknown name or option; a file that can't be read; or weights of another net:
            the differences are listed.
    """
    if weights is None:
        return models.create_model(name, **options)
    return _build(load_weights(weights, options.get("num_classes")), name, options)


def load_model(path: str | Path, **options: Any) -> models.MobileNet:
    """Build the net that the weights are of; see `create_model`.

    Args:
        path: what `load_weights` takes: our checkpoints, run folders and files, those of other
            zoos, or a name.
        options: as in `create_model`, such as num_classes for another classifier.
    """
    weights = load_weights(path, options.get("num_classes"))
    return _build(weights, weights.model, options)


def start_from(net: models.MobileNet, source: str | Path) -> Report:
    """Copy weights into a net, whose classifier and stem may differ; see `load_weights`.

    Raises:
        ValueError: there are no weights, or they are of another net: the differences are listed,
            and nothing is copied.
    """
    weights = load_weights(source, net.num_classes)
    check_options(weights, net.name, net.options)
    return _copy(weights, net)


def adapt_channels(kernel: Tensor, in_channels: int) -> Tensor:
    """Adapt the stem's kernel (out, in, H, W) to images with other channels, as timm does.

    For one channel, sum the kernel over its channels. For more, repeat the channels, and rescale
    them so that their sum stays the same on average.
    """
    own = kernel.shape[1]
    if in_channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeated = kernel.repeat(1, -(-in_channels // own), 1, 1)[:, :in_channels]
    return repeated * (own / in_channels)


def adapt_preprocessing(preprocessing: Mapping[str, Any], in_channels: int) -> dict[str, Any]:
    """Adapt preprocessing to other channels: average mean and std over the net's own."""
    if preprocessing.get("in_channels", in_channels) == in_channels:
        return dict(preprocessing)
    averages = {key: [fmean(preprocessing[key])] for key in ("mean", "std")}
    return {**preprocessing, **averages, "in_channels": in_channels}


def _find_checkpoint(path: Path) -> Path:
    """Return the best or else the last checkpoint of a run folder; any other path as it is."""
    return next((path / name for name in (BEST, LAST) if (path / name).is_file()), path)


def _add_hub_configs(found: RemoteWeights) -> RemoteWeights:
    """Add what the config files of a downloaded Hub repository state."""
    folder = found.path.parent if found.path.name in HUB_FILES else found.path
    options, preprocessing = read_hub_configs(folder) if folder.is_dir() else ({}, {})
    return replace(found, preprocessing=preprocessing, options=options)


def _list_class_names(weights: Weights) -> list[str]:
    """List ImageNet's class names in the usual order if the net has 1000 classes, else none."""
    if weights.options["num_classes"] != IMAGENET_CLASSES:
        return []
    from torchvision.models import MobileNet_V2_Weights  # where torchvision keeps them

    return list(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def _build(weights: Weights, name: str, options: Mapping[str, Any]) -> models.MobileNet:
    """Build the net `name` with these options and the weights."""
    check_options(weights, name, options)
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
    """Copy weights into a net that differs at most in its classifier and its stem."""
    own = net.state_dict()
    adapted = dict(weights.state_dict)
    notes, converted = list(weights.notes), set(weights.converted)
    new = [
        key
        for key in HEAD
        if key in own and (key not in adapted or adapted[key].shape != own[key].shape)
    ]
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
    differences = list_differences(adapted, {key: own[key] for key in own if key not in new})
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
