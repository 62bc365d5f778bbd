"""Files of Keras 1 to 3: HDF5 weights, HDF5 models, and .keras archives."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.weights.files.hdf5 import list_datasets, open_hdf5, read_dataset, read_text
from mobilenets.weights.files.limits import UnreadableFile, json_object
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.zips import open_zip

if TYPE_CHECKING:
    import h5py

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # members of a .keras archive
MODEL_WEIGHTS = "model_weights"  # group of an HDF5 file with a whole model
TRAINING = ("optimizer", "optimizer_weights", "metrics")  # groups that are no part of the net
VARS, SEEDS = "vars", "seed_generator"
# Keras 3 numbers a layer's variables; the group's name is the layer's class.
VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
}


def read_keras_hdf5(path: Path) -> RawWeights:
    """The weights of an .h5 file; `content` is the model's config where the file has it."""
    with open_hdf5(path.read_bytes()) as file:
        return _read(file, {})


def read_keras_zip(path: Path) -> RawWeights:
    """The weights of a .keras file; `content` is the model's config."""
    with open_zip(path) as archive:
        config = json_object(archive.read(CONFIG), CONFIG)
        weights = archive.read(WEIGHTS)
    with open_hdf5(weights) as file:
        return _read(file, config)


def _read(file: "h5py.File", config: dict[str, Any]) -> RawWeights:
    datasets = list_datasets(file)  # before anything else, as it refuses what is unsafe
    variables = _variables(file, list(datasets))
    if text := read_text(file, "model_config"):
        config = json_object(text, "its model_config")
    counts = Counter(variables.values())  # models within one another may use a name twice
    names = {path: name if counts[name] == 1 else path for path, name in variables.items()}
    tensors = {name: read_dataset(name, datasets[path]) for path, name in names.items()}
    return RawWeights("Keras", tensors, config, [path for path in datasets if path not in names])


def _variables(file: "h5py.File", paths: list[str]) -> dict[str, str]:
    """Path of each variable's data set -> layer/variable."""
    if MODEL_WEIGHTS in file:
        return _named(paths, f"{MODEL_WEIGHTS}/")
    # A long list of names is cut into layer_names0, layer_names1, ...
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return _named(paths, "")
    if any(VARS in path.split("/") for path in paths):
        return _numbered(file, paths)
    raise UnreadableFile(
        "is an HDF5 file, but not one of Keras: it has no layer_names and no vars, so save the "
        "weights with Keras's model.save_weights"
    )


def _named(paths: list[str], top: str) -> dict[str, str]:
    """Keras 1 and 2: the data sets lie at the names of the variables, such as conv1/kernel:0."""
    return {
        path: re.sub(r":\d+$", "", "/".join(path.removeprefix(top).split("/")[-2:]))
        for path in paths
        if path.startswith(top) and path.split("/")[0] not in TRAINING
    }


def _numbered(file: "h5py.File", paths: list[str]) -> dict[str, str]:
    """Keras 3: layers/<class>_<k>/vars/<i>; later versions note the layer's name."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        group, separator, number = path.rpartition(f"/{VARS}/")
        parts = _parts(group)
        if separator and number.isdecimal() and parts[0] not in TRAINING and parts[-1] != SEEDS:
            groups.setdefault(group, []).append(number)
    names = {}
    for group, numbers in groups.items():
        layer = _parts(group)[-1]
        variables = VARIABLES.get(re.sub(r"_\d+$", "", layer), ())
        # A norm without gamma or beta has fewer, and the numbers do not tell which.
        known = len(numbers) == 4 if "gamma" in variables else len(numbers) <= len(variables)
        name = read_text(file[f"{group}/{VARS}"], "name") or layer
        for number in numbers:
            variable = variables[int(number)] if known else number
            names[f"{group}/{VARS}/{number}"] = f"{name}/{variable}"
    return names


def _parts(group: str) -> list[str]:
    return group.replace("\\", "/").split("/")  # as TensorFlow 2.12 wrote it on Windows
