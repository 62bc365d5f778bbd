"""The files of Keras 1 to 3 give the same names: layer/variable."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
import torch

from mobilenets.weights.files import read_raw_weights

h5py = pytest.importorskip("h5py", reason="Keras files need h5py")

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# layer -> its class in Keras 3's files, and its variables
LAYERS = {
    "conv1": ("conv2d", ("kernel",)),
    "conv1_bn": ("batch_normalization", NORM),
    "conv_dw_1": ("depthwise_conv2d", ("kernel",)),
    "conv_dw_1_bn": ("batch_normalization_1", NORM),
    "predictions": ("dense", ("kernel", "bias")),
}
NAMES = [f"{layer}/{variable}" for layer, (_, names) in LAYERS.items() for variable in names]
VALUES = {name: np.full((2, 3), i, dtype=np.float32) for i, name in enumerate(NAMES)}
CONFIG = {"class_name": "Functional", "config": {"name": "mobilenet"}}


def write_named(group, inner="", depthwise="kernel"):
    """Write as Keras 1 and 2 do; `inner` is the path of a nested model."""
    group.attrs["layer_names"] = [layer.encode() for layer in LAYERS]
    for layer, (_, variables) in LAYERS.items():
        group.create_group(layer).attrs["weight_names"] = [f"{layer}/{v}:0" for v in variables]
        for variable in variables:
            name = depthwise if layer == "conv_dw_1" else variable
            group[f"{layer}/{inner}{layer}/{name}:0"] = VALUES[f"{layer}/{variable}"]


def write_numbered(file, top="layers/", names=True):
    """Write as Keras 3 does."""
    for layer, (kind, variables) in LAYERS.items():
        group = file.create_group(f"{top}{kind}/vars")
        if names:
            group.attrs["name"] = layer
        for i, variable in enumerate(variables):
            group[f"{i}"] = VALUES[f"{layer}/{variable}"]


def holds_the_values(stored):
    return sorted(stored.tensors) == sorted(NAMES) and all(
        torch.equal(stored.tensors[name], torch.from_numpy(VALUES[name])) for name in NAMES
    )


@pytest.mark.parametrize("inner", ["", "sequential/"])
def test_weights_of_keras_2_are_named_by_layer_and_variable(inner, tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        write_named(file, inner)
    stored = read_raw_weights(tmp_path / "net")
    assert (stored.format, stored.content, stored.ignored) == ("Keras", {}, [])
    assert holds_the_values(stored)


@pytest.mark.parametrize("encode", [str, str.encode, np.bytes_])
def test_a_whole_model_brings_its_config_and_leaves_its_optimizer(encode, tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        file.attrs["model_config"] = encode(json.dumps(CONFIG))
        write_named(file.create_group("model_weights"))
        file["optimizer_weights/adam/conv1_kernel_momentum"] = np.ones(3)
    stored = read_raw_weights(tmp_path / "net")
    assert stored.content == CONFIG
    assert stored.ignored == ["optimizer_weights/adam/conv1_kernel_momentum"]
    assert holds_the_values(stored)


def test_a_list_of_layers_that_is_split_is_recognised(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        write_named(file)
        file.attrs["layer_names0"] = file.attrs["layer_names"]
        del file.attrs["layer_names"]
    assert holds_the_values(read_raw_weights(tmp_path / "net"))


def test_the_depthwise_kernel_keeps_its_older_name(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        write_named(file, depthwise="depthwise_kernel")
    assert "conv_dw_1/depthwise_kernel" in read_raw_weights(tmp_path / "net").tensors


TOPS = ["layers/", "_layer_checkpoint_dependencies/", "layers/functional/layers/", "layers\\"]


@pytest.mark.parametrize("top", TOPS)
def test_weights_of_keras_3_are_named_by_the_layers_names(top, tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        write_numbered(file, top)
        file["optimizer/vars/0"] = np.array(7)
        file["metrics/mean/vars/0"] = np.array(7.0)
        file[f"{top}dropout/seed_generator/vars/0"] = np.arange(2, dtype=np.uint32)
    stored = read_raw_weights(tmp_path / "net")
    assert holds_the_values(stored)
    assert sorted(stored.ignored) == sorted(
        ["optimizer/vars/0", "metrics/mean/vars/0", f"{top}dropout/seed_generator/vars/0"]
    )


@pytest.mark.parametrize("top", TOPS)
def test_without_names_the_class_stands_for_the_layer(top, tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        write_numbered(file, top, names=False)
    tensors = read_raw_weights(tmp_path / "net").tensors
    assert sorted(tensors) == sorted(
        f"{kind}/{variable}" for kind, variables in LAYERS.values() for variable in variables
    )
    expected = VALUES["conv_dw_1_bn/moving_mean"]
    assert torch.equal(tensors["batch_normalization_1/moving_mean"], torch.from_numpy(expected))


def test_variables_that_numbers_do_not_identify_keep_their_numbers(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        for i in range(3):  # a norm without gamma, or without beta
            file[f"layers/batch_normalization/vars/{i}"] = np.ones(3)
            file[f"layers/my_layer/vars/{i}"] = np.ones(3)
    assert sorted(read_raw_weights(tmp_path / "net").tensors) == [
        *(f"batch_normalization/{i}" for i in range(3)),
        *(f"my_layer/{i}" for i in range(3)),
    ]


def test_where_a_name_is_used_twice_the_paths_replace_it(tmp_path):
    paths = ["layers/dense/vars/0", "layers/functional/layers/dense/vars/0"]
    with h5py.File(tmp_path / "net", "w") as file:
        for i, path in enumerate(paths):
            file[path] = np.full(3, float(i))
        file["layers/conv2d/vars/0"] = np.ones(3)
    tensors = read_raw_weights(tmp_path / "net").tensors
    assert sorted(tensors) == ["conv2d/kernel", *paths]
    assert [tensors[path][0].item() for path in paths] == [0.0, 1.0]


def write_archive(path, config):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        write_numbered(file)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())


def test_a_keras_archive_brings_its_config(tmp_path):
    write_archive(tmp_path / "net", json.dumps(CONFIG))
    stored = read_raw_weights(tmp_path / "net")
    assert (stored.format, stored.content) == ("Keras", CONFIG)
    assert holds_the_values(stored)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("[]", "has a list where config.json is a JSON object"),
        ("{", r"can't be read \(JSONDecodeError: "),
        (" " * (17 << 20), r"has 18 MB of JSON in config\.json; at most 17 MB are read"),
    ],
)
def test_a_config_that_is_not_an_object_is_named(config, sentence, tmp_path):
    write_archive(tmp_path / "net", config)
    with pytest.raises(ValueError, match=f"net {sentence}"):
        read_raw_weights(tmp_path / "net")


def test_hdf5_of_something_else_is_named(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        file["pixels"] = np.ones(3)
    with pytest.raises(ValueError, match="net is an HDF5 file, but not one of Keras: it has no la"):
        read_raw_weights(tmp_path / "net")


def test_weights_that_diverged_are_rejected(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        file["layers/dense/vars/0"] = np.full(3, np.nan)
    with pytest.raises(ValueError, match="net holds NaN or infinity in 'dense/kernel'"):
        read_raw_weights(tmp_path / "net")


@pytest.mark.parametrize("archive", [True, False])
def test_without_h5py_its_installation_is_named(archive, tmp_path, monkeypatch):
    if archive:
        write_archive(tmp_path / "net", json.dumps(CONFIG))
    else:
        with h5py.File(tmp_path / "net", "w") as file:
            write_named(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ValueError, match=r'^reading .*net needs h5py: pip install -e "\.\[keras\]"$'
    ):
        read_raw_weights(tmp_path / "net")
