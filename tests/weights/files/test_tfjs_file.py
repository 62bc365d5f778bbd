"""TensorFlow.js models are read with their shards, which must be beside them."""

import json

import numpy as np
import pytest
import torch

from mobilenets.weights.files import limits, read_raw_weights

KERNEL = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
BIAS = np.array([1.0, 2.0, 3.0], dtype=np.float32)


def entry(name, array, dtype="float32", quantization=None):
    described = {"name": name, "shape": list(np.shape(array)), "dtype": dtype}
    return described | ({"quantization": quantization} if quantization else {})


def write(folder, *groups, **topology):
    """Write groups, each of {name of a shard: content} and then its entries."""
    manifest = []
    for shards, *entries in groups:
        manifest.append({"paths": list(shards), "weights": entries})
        for name, content in shards.items():
            (folder / name).write_bytes(content)
    model = {"modelTopology": topology, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(model))


def test_the_shards_of_a_group_are_joined(tmp_path):
    content = KERNEL.tobytes() + BIAS.tobytes()
    write(
        tmp_path,
        (
            {"group1-shard1of2.bin": content[:17], "group1-shard2of2.bin": content[17:]},
            entry("conv1/kernel", KERNEL),
            entry("conv1/bias", BIAS),
        ),
        ({"group2-shard1of1": BIAS.tobytes()}, entry("conv2/bias", BIAS)),
        model_config={"class_name": "Model"},
    )
    for given in (tmp_path, tmp_path / "model.json"):
        stored = read_raw_weights(given)
        assert stored.format == "TensorFlow.js"
        assert stored.content == {"class_name": "Model"}
        assert list(stored.tensors) == ["conv1/kernel", "conv1/bias", "conv2/bias"]
        assert torch.equal(stored.tensors["conv1/kernel"], torch.from_numpy(KERNEL))
        assert torch.equal(stored.tensors["conv1/bias"], torch.from_numpy(BIAS))
        assert torch.equal(stored.tensors["conv2/bias"], torch.from_numpy(BIAS))


@pytest.mark.parametrize(
    ("topology", "content"),
    [
        ({"class_name": "Model", "config": {}}, {"class_name": "Model", "config": {}}),
        ({"node": [], "library": {}}, {}),  # a graph
        ({}, {}),
    ],
)
def test_the_config_is_found_where_there_is_one(topology, content, tmp_path):
    write(tmp_path, ({"shard": BIAS.tobytes()}, entry("MobilenetV1/Conv/biases", BIAS)), **topology)
    stored = read_raw_weights(tmp_path)
    assert (stored.content, list(stored.tensors)) == (content, ["MobilenetV1/Conv/biases"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_quantised_weights_are_scaled_and_shifted(dtype, tmp_path):
    numbers = np.array([0, 3, 200], dtype=dtype)
    coded = {"dtype": dtype, "scale": 0.5, "min": -2.0}
    write(tmp_path, ({"shard": numbers.tobytes()}, entry("a", numbers, "float32", coded)))
    values = read_raw_weights(tmp_path).tensors["a"]
    assert (values.dtype, values.tolist()) == (torch.float32, [-2.0, -0.5, 98.0])


def test_half_precision_is_only_cast(tmp_path):
    numbers = np.array([0.1, 2.0], dtype=np.float16)
    coded = {"dtype": "float16"}
    write(tmp_path, ({"shard": numbers.tobytes()}, entry("a", numbers, "float32", coded)))
    values = read_raw_weights(tmp_path).tensors["a"]
    assert values.dtype == torch.float32
    assert torch.equal(values, torch.from_numpy(numbers.astype(np.float32)))


def test_quantised_integers_are_rounded(tmp_path):
    numbers = np.array([0, 3], dtype=np.uint8)
    coded = {"dtype": "uint8", "scale": 0.9, "min": 1.0}
    write(tmp_path, ({"shard": numbers.tobytes()}, entry("a", numbers, "int32", coded)))
    assert read_raw_weights(tmp_path).tensors["a"].tolist() == [1, 4]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool"])
def test_every_type_is_read_empty_and_scalar_weights_too(dtype, tmp_path):
    numbers = np.array(1, dtype=dtype)
    empty = np.zeros((0, 3), dtype=dtype)
    write(
        tmp_path,
        ({"shard": numbers.tobytes()}, entry("a", numbers, dtype), entry("b", empty, dtype)),
    )
    tensors = read_raw_weights(tmp_path).tensors
    assert torch.equal(tensors["a"], torch.from_numpy(numbers))
    assert tensors["b"].shape == (0, 3)


@pytest.mark.parametrize("length", [0, 7, 11, 13])
def test_a_shard_of_another_size_is_named(length, tmp_path):
    write(tmp_path, ({"group1-shard1of1": bytes(length)}, entry("a", BIAS)))
    with pytest.raises(
        ValueError,
        match=rf"json describes 12 bytes of weights in group1-shard1of1, which hold {length}: copy",
    ):
        read_raw_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path, ({"group1-shard1of1": BIAS.tobytes()}, entry("a", BIAS)))
    (tmp_path / "group1-shard1of1").unlink()
    with pytest.raises(
        ValueError, match=r"json needs the shard group1-shard1of1, which is not bes"
    ):
        read_raw_weights(tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b", "..", ".", "", "..\\secret", "C:secret", "a\0b"]
)
def test_a_shard_must_be_beside_the_model(name, tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(BIAS.tobytes())
    write(folder, ({"shard": BIAS.tobytes()}, entry("a", BIAS)))
    model = json.loads((folder / "model.json").read_text())
    model["weightsManifest"][0]["paths"] = [name]
    (folder / "model.json").write_text(json.dumps(model))
    with pytest.raises(ValueError, match=r"(not a plain file name, so it was not|needs the shard)"):
        read_raw_weights(folder)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("{}", "is JSON without a weightsManifest, so not a model of TensorFlow.js"),
        ('{"weightsManifest": [{"paths": []}]}', r"can't be read \(KeyError: 'weights'\)"),
        ('{"weightsManifest": 3}', r"can't be read \(TypeError: "),
        ('{"weightsManifest": ', r"can't be read \(JSONDecodeError: "),
        ('{"a": ' + "[" * 100_000, r"can't be read \(RecursionError: "),
    ],
)
def test_json_that_is_not_a_model_is_named(model, sentence, tmp_path):
    (tmp_path / "model.json").write_text(model)
    with pytest.raises(ValueError, match=rf"model\.json {sentence}"):
        read_raw_weights(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dtype": "string"}, "has 'a' as string; read are float32"),
        ({"shape": [-3]}, r"gives 'a' the shape \[-3\]"),
        ({"shape": [1.5]}, r"gives 'a' the shape \[1.5\]"),
        ({"shape": [10**12]}, r"would unpack to 4000\.0 GB"),
    ],
)
def test_an_impossible_weight_is_named(change, sentence, tmp_path):
    write(tmp_path, ({"shard": BIAS.tobytes()}, entry("a", BIAS) | change))
    with pytest.raises(ValueError, match=rf"model\.json {sentence}"):
        read_raw_weights(tmp_path)


def test_a_huge_json_is_rejected(tmp_path, monkeypatch):
    write(tmp_path, ({"shard": BIAS.tobytes()}, entry("a", BIAS)))
    with (tmp_path / "model.json").open("a") as file:
        file.write(" " * limits.MAX_JSON_BYTES)
    with pytest.raises(ValueError, match=r"has 17 MB of JSON in the file; at most 17 MB are read"):
        read_raw_weights(tmp_path)
