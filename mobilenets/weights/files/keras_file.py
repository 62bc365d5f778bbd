"""Files of Keras 1 to 3: HDF5 weights, HDF5 models, and .keras archives."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.weights.files.hdf5 import list_datasets, open_hdf5, read_attribute, read_dataset
from mobilenets.weights.files.limits import UnreadableFile, parse_json_object
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.zips import open_zip

if TYPE_CHECKING:
    import h5py

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # members of a .keras archive
MODEL_WEIGHTS = "model_weights"  # group of an HDF5 file with a whole model
TRAINING = ("optimizer", "optimizer_weights", "metrics")  # groups beside the net
VARS, SEEDS = "vars", "seed_generator"
# Keras 3 numbers a layer's variables; the group's name is the layer's class.
VARIABLES = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
}


def read_keras_hdf5(path: Path) -> RawWeights:
    """Read an .h5 file; `content` is the model's config, empty in files of weights alone."""
    with open_hdf5(path.read_bytes()) as file:
        return _read_model(file, {})


def read_keras_zip(path: Path) -> RawWeights:
    """Read a .keras archive; `content` is the model's config."""
    with open_zip(path) as archive:
        config = parse_json_object(archive.read(CONFIG), CONFIG)
        weights = archive.read(WEIGHTS)
    with open_hdf5(weights) as file:
        return _read_model(file, config)


def _read_model(file: "h5py.File", config: dict[str, Any]) -> RawWeights:
    datasets = list_datasets(file)  # first, as it checks that the rest is safe
    variables = _name_variables(file, list(datasets))
    if text := read_attribute(file, "model_config"):
        config = parse_json_object(text, "its model_config")
    counts = Counter(variables.values())  # nested models may use a name twice
    names = {path: name if counts[name] == 1 else path for path, name in variables.items()}
    tensors = {name: read_dataset(name, datasets[path]) for path, name in names.items()}
    return RawWeights("Keras", tensors, config, [path for path in datasets if path not in names])


def _name_variables(file: "h5py.File", paths: list[str]) -> dict[str, str]:
    """Map the path of each variable's data set to its name, layer/variable."""
    if MODEL_WEIGHTS in file:
        return _map_named(paths, f"{MODEL_WEIGHTS}/")
    # A long list of names is split into layer_names0, layer_names1, ...
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return _map_named(paths, "")
    if any(VARS in path.split("/") for path in paths):
        return _map_numbered(file, paths)
    raise UnreadableFile(
        "is an HDF5 file, but not one of Keras: it has no layer_names and no vars, so save the "
        "weights with Keras's model.save_weights"
    )


def _map_named(paths: list[str], top: str) -> dict[str, str]:
    """Map the paths of Keras 1 and 2, which end in the variable's name: conv1/kernel:0."""
    return {
        path: re.sub(r":\d+$", "", "/".join(path.removeprefix(top).split("/")[-2:]))
        for path in paths
        if path.startswith(top) and path.split("/")[0] not in TRAINING
    }


def _map_numbered(file: "h5py.File", paths: list[str]) -> dict[str, str]:
    """Map the paths of Keras 3: layers/<class>_<k>/vars/<i>.

    Later versions store the layer's name beside them.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        group, separator, number = path.rpartition(f"/{VARS}/")
        parts = _split_path(group)
        if separator and number.isdecimal() and parts[0] not in TRAINING and parts[-1] != SEEDS:
            groups.setdefault(group, []).append(number)
    names = {}
    for group, numbers in groups.items():
        layer = _split_path(group)[-1]
        variables = VARIABLES.get(re.sub(r"_\d+$", "", layer), ())
        # A norm without gamma or beta has fewer, and the numbers don't show which.
        known = len(numbers) == 4 if "gamma" in variables else len(numbers) <= len(variables)
        name = read_attribute(file[f"{group}/{VARS}"], "name") or layer
        for number in numbers:
            variable = variables[int(number)] if known else number
            names[f"{group}/{VARS}/{number}"] = f"{name}/{variable}"
    return names


def _split_path(group: str) -> list[str]:
    return group.replace("\\", "/").split("/")  # as TensorFlow 2.12 wrote it on Windows
