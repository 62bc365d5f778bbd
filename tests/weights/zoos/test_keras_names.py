"""Keras's own nets, saved in each of its formats, give the same logits here."""

import json
import os
import sys
import warnings
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from torch import nn

from mobilenets import load_model

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install -e '.[keras]'")
if "KERAS_BACKEND" not in os.environ:
    os.environ["KERAS_BACKEND"] = "torch"
# absl, which keras imports, would later close what stands for sys.stderr now: pytest's own.
with warnings.catch_warnings(action="ignore"), redirect_stderr(sys.__stderr__):
    keras = pytest.importorskip("keras", reason="keras is not installed: .[zoos]")

# Keras's own warnings, of NumPy and about its older formats.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

IMAGES = (2, 64, 64, 3)
OPTIONS = {"weights": None, "input_shape": (64, 64, 3), "classes": 11}


@pytest.fixture(scope="module", params=["v1", "v2"])
def model(request):
    """A net of keras.applications, width 0.25 or 0.35, with values like those after training."""
    if request.param == "v1":
        net = keras.applications.MobileNet(alpha=0.25, classifier_activation=None, **OPTIONS)
    else:
        net = keras.applications.MobileNetV2(alpha=0.35, classifier_activation=None, **OPTIONS)
    return randomised(net)


def randomised(net):
    rng = np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (w.shape for w in layer.get_weights())
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, gamma),
                    rng.uniform(-0.2, 0.5, beta),
                    rng.uniform(-0.5, 0.5, mean),
                    rng.uniform(0.5, 1.5, variance),
                ]
            )
        elif layer.name in ("predictions", "conv_preds") and layer.get_weights():
            layer.set_weights([rng.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    return net


def check_logits(net, path, **expected):
    images = np.random.default_rng(1).normal(size=IMAGES).astype("float32")
    ours = load_model(path)
    with torch.no_grad():
        wanted = net(images).detach().reshape(len(images), -1)
        answer = ours(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert wanted.std() > 0.1
    torch.testing.assert_close(answer, wanted, atol=1e-5, rtol=1e-5)
    assert (ours.options["bn_eps"], ours.options["padding"]) == (1e-3, "same")
    for option, value in expected.items():
        assert ours.options[option] == value
    return ours


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_whole_models(model, tmp_path, suffix, recwarn):
    model.save(tmp_path / f"model{suffix}")
    ours = check_logits(model, tmp_path / f"model{suffix}", num_classes=11)
    assert ours.preprocessing["image_size"] == 64


def test_weights_of_keras_3(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    check_logits(model, tmp_path / "model.weights.h5")


def test_weights_of_keras_3_without_the_names_of_layers(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5", "r+") as file:
        layers = list(file["layers"].values())
        named = [layer["vars"] for layer in layers if "name" in layer["vars"].attrs]
        assert len(named) > 50
        for group in named:
            del group.attrs["name"]
    check_logits(model, tmp_path / "model.weights.h5")


def test_weights_of_keras_2(model, tmp_path):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(tmp_path / "weights.h5", "w") as file:
        save_weights_to_hdf5_group(file, model)
    check_logits(model, tmp_path / "weights.h5")


def test_layers_of_tensorflow_js(model, tmp_path):
    arrays = {
        f"{layer.name}/{weight.name}": array
        for layer in model.layers
        for weight, array in zip(layer.weights, layer.get_weights(), strict=True)
        if weight.name != "seed_generator_state"
    }
    folder = tensorflow_js(tmp_path, arrays, {})
    check_logits(model, folder)


def test_quantised_layers_of_tensorflow_js(model, tmp_path):
    """With two bytes per value, the logits agree within the rounding of the weights."""
    arrays, stored, quantised = {}, {}, {}
    for layer in model.layers:
        values = layer.get_weights()
        if not values or layer.name == "dropout":
            continue
        restored = []
        for weight, array in zip(layer.weights, values, strict=True):
            low, scale = float(array.min()), max(float(np.ptp(array)) / 65535, 1e-9)
            codes = np.round((array - low) / scale).astype("uint16")
            name = f"{layer.name}/{weight.name}"
            stored[name], quantised[name] = codes, (low, scale)
            restored.append((codes * np.float32(scale) + np.float32(low)).astype("float32"))
        arrays[layer.name] = restored
    before = {layer.name: layer.get_weights() for layer in model.layers}
    for layer in model.layers:
        if layer.name in arrays:
            layer.set_weights(arrays[layer.name])
    check_logits(model, tensorflow_js(tmp_path, stored, quantised))
    for layer in model.layers:
        if layer.name in arrays:
            layer.set_weights(before[layer.name])


def tensorflow_js(folder, arrays, quantised):
    """Write model.json and two shards."""
    weights, data = [], b""
    for name, array in arrays.items():
        entry = {"name": name, "shape": list(array.shape), "dtype": "float32"}
        if name in quantised:
            low, scale = quantised[name]
            entry["quantization"] = {"dtype": "uint16", "min": low, "scale": scale}
        weights.append(entry)
        data += array.tobytes()
    shards = {"group1-shard1of2.bin": data[:5000], "group1-shard2of2.bin": data[5000:]}
    for name, part in shards.items():
        (folder / name).write_bytes(part)
    manifest = [{"paths": list(shards), "weights": weights}]
    (folder / "model.json").write_text(
        json.dumps({"format": "layers-model", "weightsManifest": manifest, "modelTopology": {}})
    )
    return folder


@pytest.mark.parametrize(
    "build", [keras.applications.MobileNet, keras.applications.MobileNetV2], ids=["v1", "v2"]
)
def test_without_the_top_the_output_is_the_pooled_vector(build, tmp_path):
    options = {"weights": None, "include_top": False, "pooling": "avg", "alpha": 0.5}
    net = randomised(build(input_shape=(64, 64, 3), **options))
    net.save(tmp_path / "model.keras")
    ours = check_logits(net, tmp_path / "model.keras", num_classes=0)
    assert isinstance(ours.classifier, nn.Identity)
    assert load_model(tmp_path / "model.keras", num_classes=3).num_classes == 3


def test_keras_v1s_multiplier_of_depthwise_kernels(tmp_path):
    net = keras.applications.MobileNet(
        alpha=0.25, depth_multiplier=2, classifier_activation=None, **OPTIONS
    )
    randomised(net).save(tmp_path / "model.keras")
    check_logits(net, tmp_path / "model.keras", kernels_per_layer=2)
