"""From a path or a name to weights of one of our nets."""

from dataclasses import replace
from pathlib import Path

from mobilenets.weights.checkpoint import (
    RECORD_KEY,
    Weights,
    find_checkpoint,
    from_record,
    record_of,
)
from mobilenets.weights.convert import convert
from mobilenets.weights.fetch import Fetched, fetch, is_name
from mobilenets.weights.files import read_file
from mobilenets.weights.repository import WEIGHT_FILES
from mobilenets.weights.snapshot import describe_snapshot

IMAGENET_CLASSES = 1000  # a net of so many is one for ImageNet


def read_weights(source: str | Path, num_classes: int | None = None) -> Weights:
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
        found = Fetched(find_checkpoint(Path(source).expanduser()))
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


def snapshot(path: Path) -> Fetched:
    """A local file or folder, with what the config files of a Hub repository say in it."""
    folder = path.parent if path.name in WEIGHT_FILES else path
    options, preprocessing = describe_snapshot(folder) if folder.is_dir() else ({}, {})
    return Fetched(path, preprocessing, options=options)


def read_checkpoint(path: str | Path) -> Weights:
    """A checkpoint of this project, or the best one of a run folder, as eval.py takes it."""
    weights = read_weights(path)
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
