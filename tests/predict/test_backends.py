"""Backends compute what the net computes, and the cache of exported files is sound."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from mobilenets import create_model, imports
from mobilenets.config import PredictConfig
from mobilenets.predict import backends
from mobilenets.weights import Weights

PREPROCESSING = {"image_size": 32, "in_channels": 3}
FLOAT = ("channels_last", "folded", "onnxruntime")


def needs_onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Return the folder of cached files, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mobilenets"


@pytest.fixture
def weights(randomise):
    torch.manual_seed(0)
    stages = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]  # exporters are slow for each layer
    net = create_model("mobilenet_v2", width_mult=0.25, num_classes=5, stages=stages)
    net = randomise(net)
    return Weights(
        "net", Path("net"), "random", net.name, net.options, net.state_dict(), [], PREPROCESSING
    )


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def written(monkeypatch):
    """Replace the export with a cheap one, and return the list of the files that it writes."""
    needs_onnx()
    paths = []

    def write(model, path):
        paths.append(path)
        path.write_bytes(b"onnx" * 100)

    monkeypatch.setattr(backends.onnx_format, "write", write)
    monkeypatch.setattr(backends.onnx_format, "load", lambda path: path.read_bytes())
    return paths


def test_the_config_offers_every_backend_but_int8():
    offered = get_args(get_type_hints(PredictConfig)["backend"])
    assert {*offered, "int8"} == {"auto", *backends.BACKENDS}


def test_the_readme_lists_every_backend():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert backends.BACKENDS.keys() >= {
        "eager", "channels_last", "folded", "compiled", "onnxruntime", "int8",
    }  # fmt: skip
    assert not [name for name in backends.BACKENDS if name not in readme]


@pytest.mark.parametrize("name", FLOAT)
def test_a_backend_computes_the_logits_of_the_net(weights, images, name):
    if name == "onnxruntime":
        needs_onnx()
    expected = weights.build()(images).detach()
    assert expected.abs().max() > 1
    run = backends.load_backend(name, weights)
    torch.testing.assert_close(run(images), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(run(images[:1]), expected[:1], rtol=0, atol=1e-4)
    assert run(images).is_inference() or name == "onnxruntime"


def test_eager_is_the_net_itself(weights, images):
    assert torch.equal(backends.load_backend("eager", weights)(images), weights.build()(images))


def test_compiled_computes_the_logits_of_the_net(weights, images, monkeypatch):
    """The net is traced as usual, without the C++ compiler, which takes a minute."""
    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net: compile(net, backend="eager"))
    found = backends.load_backend("compiled", weights)(images)
    torch.testing.assert_close(found, weights.build()(images).detach(), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_int8_comes_near_the_net_on_images_it_was_calibrated_on(weights, images):
    needs_onnx()
    expected = weights.build()(images)
    found = backends.load_backend("int8", weights, calibration=[images])(images)
    assert not torch.allclose(found, expected, atol=1e-4)  # it is quantized
    assert (found - expected).norm() < 0.3 * expected.norm()


def test_the_fastest_agrees_with_the_net_and_is_never_int8_or_compiled(
    weights, images, monkeypatch
):
    loaded = []
    monkeypatch.setattr(backends, "load_backend", record_calls(loaded, backends.load_backend))
    monkeypatch.setattr(backends, "ROUNDS", 2)
    without(monkeypatch, "onnx")
    name, run = backends.pick_fastest(weights, images)
    assert loaded == ["eager", "channels_last", "folded"]
    assert name in loaded
    assert backends.is_equivalent(run(images), weights.build()(images))


@pytest.mark.parametrize("damage", ["logits", "top-1", "nan", "raises"])
def test_a_backend_that_disagrees_or_fails_is_not_used(
    weights, images, monkeypatch, caplog, damage
):
    """Only eager is left, since every other backend is sabotaged."""
    caplog.set_level("INFO", "mobilenets")
    net = weights.build()

    def sabotaged(*_):
        if damage == "raises":
            raise RuntimeError("no such kernel")

        @torch.inference_mode()
        def run(images):
            logits = net(images)
            if damage == "logits":
                return logits * 1.01
            if damage == "nan":
                return logits * float("nan")
            return logits.flip(1)

        return run

    for name in FLOAT:
        backend = backends.BACKENDS[name]._replace(load=sabotaged, packages=())
        monkeypatch.setitem(backends.BACKENDS, name, backend)
    name, _ = backends.pick_fastest(weights, images)
    assert name == "eager"
    for other in FLOAT:
        assert f"backend {other} is not used" in caplog.text
    assert ("no such kernel" in caplog.text) == (damage == "raises")


def test_a_near_tie_may_not_change_the_answer():
    logits = torch.tensor([[5.0, 5.0001]])
    assert backends.is_equivalent(logits, logits)
    assert not backends.is_equivalent(torch.tensor([[5.0001, 5.0]]), logits)


@pytest.mark.parametrize("name", ["onnxruntime", "int8"])
def test_missing_packages_are_named(weights, monkeypatch, name):
    without(monkeypatch, "onnxscript")
    with pytest.raises(ValueError, match=r'needs onnxscript: pip install -e "\.\[export\]"'):
        backends.load_backend(name, weights)
    assert not backends.is_cached(name, weights)


def test_weights_without_preprocessing_are_an_error(weights):
    needs_onnx()
    with pytest.raises(ValueError, match="does not say which image_size"):
        backends.load_backend("onnxruntime", replace(weights, preprocessing={}))


def test_a_file_is_written_once(weights, written, cache):
    assert not backends.is_cached("onnxruntime", weights)
    first = backends.load_backend("onnxruntime", weights)
    assert backends.is_cached("onnxruntime", weights)
    assert backends.load_backend("onnxruntime", weights) == first
    assert len(written) == 1
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]  # and no partial files


def test_a_file_belongs_to_weights_options_size_and_versions(weights, written, monkeypatch):
    key, value = next(iter(weights.state_dict.items()))
    others = [
        replace(weights, state_dict=weights.state_dict | {key: value + 1e-3}),
        replace(weights, options=weights.options | {"activation": "relu"}),
        replace(weights, preprocessing=PREPROCESSING | {"image_size": 48}),
    ]
    backends.load_backend("onnxruntime", weights)
    for count, other in enumerate(others, 2):
        assert not backends.is_cached("onnxruntime", other)
        backends.load_backend("onnxruntime", other)
        assert len(written) == count
    monkeypatch.setattr(backends, "version", lambda package: "99")
    assert not backends.is_cached("onnxruntime", weights)


def test_a_damaged_file_is_written_again(weights, written, cache):
    good = backends.load_backend("onnxruntime", weights)
    (file,) = cache.iterdir()
    file.write_bytes(b"0nnx" * 100)
    assert not backends.is_cached("onnxruntime", weights)
    assert backends.load_backend("onnxruntime", weights) == good
    assert len(written) == 2
    assert file.read_bytes() == good


def test_it_works_without_a_cache(weights, written, cache):
    cache.write_text("a file, where a folder should be")
    for count in (1, 2):
        assert backends.load_backend("onnxruntime", weights) == b"onnx" * 100
        assert len(written) == count


def test_the_cache_keeps_the_files_used_last(weights, written, cache, monkeypatch):
    monkeypatch.setattr("mobilenets.cache.MAX_FILES", 2)
    key, value = next(iter(weights.state_dict.items()))
    nets = [replace(weights, state_dict=weights.state_dict | {key: value + i}) for i in range(3)]
    for net in nets:
        backends.load_backend("onnxruntime", net)
    assert [backends.is_cached("onnxruntime", net) for net in nets] == [False, True, True]


def test_torch_backends_need_no_file(weights):
    assert all(backends.is_cached(name, weights) for name in ("eager", "folded", "compiled"))


def record_calls(names, load):
    """Wrap `load` so that it records the names of the backends it loads."""

    def call(name, *args):
        names.append(name)
        return load(name, *args)

    return call


def without(monkeypatch, package):
    """Make a package look as if it were not installed."""
    monkeypatch.setattr(
        imports, "find_spec", lambda name: None if name == package else find_spec(name)
    )
