"""Files that Keras itself writes are read, in each of its formats."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mobilenets.weights.files import read_raw_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("keras", "h5py"))),
        reason="Keras is not installed, so there is nothing that could write its files",
    ),
]

# Keras has a process of its own, as it chooses its backend when it is imported.
SCRIPT = """
import keras, numpy as np
rng = np.random.default_rng(0)
options = {"alpha": 0.25, "input_shape": (32, 32, 3), "weights": None}
plain = keras.applications.MobileNet(**options, classes=10)
body = keras.applications.MobileNet(**options, include_top=False, pooling="avg")
tuned = keras.Sequential([body, keras.layers.Dropout(0.2), keras.layers.Dense(5, name="head")])
for name, net in (("plain", plain), ("tuned", tuned)):
    net.compile("adam", "categorical_crossentropy")
    net.optimizer.build(net.trainable_variables)
    net.set_weights([rng.random(weight.shape) for weight in net.weights])
    named = {"/".join(w.path.split("/")[-2:]): w.numpy() for w in net.weights}
    np.savez(f"{name}.npz", **named)
    net.save_weights(f"{name}.weights.h5")
    net.save(f"{name}.keras")
    net.save(f"{name}.h5")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    own = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=os.environ | own,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("name", ["plain", "tuned"])
def test_names_and_values_are_keras_own(name, suffix, folder):
    stored = read_raw_weights(folder / f"{name}{suffix}")
    with np.load(folder / f"{name}.npz") as expected:
        assert len(stored.tensors) == len(expected.files) == 137
        for key in expected.files:
            assert torch.equal(stored.tensors[key], torch.from_numpy(expected[key])), key
    assert bool(stored.content) == (suffix != ".weights.h5")
    assert stored.ignored
    assert all(
        key.split("/")[0] in ("optimizer", "optimizer_weights") or "seed" in key
        for key in stored.ignored
    )
