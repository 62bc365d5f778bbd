"""Backends of tiny nets; nothing here says which is fast."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mobilenets import create_model
from mobilenets.predict import backends
from mobilenets.weights import Weights

PREPROCESSING = {"image_size": 32, "in_channels": 3}
FLOAT = ("channels_last", "folded", "onnxruntime")


def needs_onnx():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The folder of cached files, which isn't there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mobilenets"


@pytest.fixture
def weights(randomise):
    torch.manual_seed(0)
    net = randomise(create_model("mobilenet_v2", width_mult=0.25, num_classes=5))
    return Weights(
        "net", Path("net"), "random", net.name, net.options, net.state_dict(), [], PREPROCESSING
    )


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def written(monkeypatch):
    """The files that were written: exports are counted and made cheap."""
    needs_onnx()
    paths = []

    def write(model, path):
        paths.append(path)
        path.write_bytes(b"onnx" * 100)

    monkeypatch.setattr(backends.onnx_format, "write", write)
    monkeypatch.setattr(backends.onnx_format, "load", lambda path: path.read_bytes())
    return paths


def test_the_backends_are_those_of_the_readme():
    assert list(backends.BACKENDS) == [
        "eager", "channels_last", "folded", "compiled", "onnxruntime", "int8",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FLOAT)
def test_a_backend_gives_the_logits_of_the_net(weights, images, name):
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


def test_compiled_gives_the_logits_of_the_net(weights, images, monkeypatch):
    """Traced as ever, but without the minute in which the C++ compiler works."""
    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net: compile(net, backend="eager"))
    found = backends.load_backend("compiled", weights)(images)
    torch.testing.assert_close(found, weights.build()(images).detach(), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_int8_comes_near_the_net_on_images_it_was_calibrated_on(weights, images):
    needs_onnx()
    expected = weights.build()(images)
    found = backends.load_backend("int8", weights, batches=[images])(images)
    assert not torch.allclose(found, expected, atol=1e-4)  # it does round
    assert (found - expected).norm() < 0.3 * expected.norm()


def test_the_fastest_agrees_with_the_net_and_is_never_int8_or_compiled(
    weights, images, monkeypatch
):
    started = []
    monkeypatch.setattr(backends, "load_backend", recorded(started, backends.load_backend))
    monkeypatch.setattr(backends, "ROUNDS", 2)
    without(monkeypatch, "onnx")
    name, run = backends.pick_fastest(weights, images)
    assert started == ["eager", "channels_last", "folded"]
    assert name in started
    assert backends.agree(run(images), weights.build()(images))


@pytest.mark.parametrize("damage", ["logits", "top-1", "nan", "raises"])
def test_what_disagrees_or_fails_is_left_out(weights, images, monkeypatch, caplog, damage):
    """Each of the others is sabotaged, so only eager is left."""
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
        backend = backends.BACKENDS[name]._replace(start=sabotaged, packages=())
        monkeypatch.setitem(backends.BACKENDS, name, backend)
    name, _ = backends.pick_fastest(weights, images)
    assert name == "eager"
    for other in FLOAT:
        assert f"backend {other} is left out" in caplog.text
    assert ("no such kernel" in caplog.text) == (damage == "raises")


def test_a_near_tie_may_not_change_the_answer():
    logits = torch.tensor([[5.0, 5.0001]])
    assert backends.agree(logits, logits)
    assert not backends.agree(torch.tensor([[5.0001, 5.0]]), logits)


@pytest.mark.parametrize("name", ["onnxruntime", "int8"])
def test_what_is_not_installed_is_named(weights, monkeypatch, name):
    without(monkeypatch, "onnxscript")
    with pytest.raises(ValueError, match=r"needs onnxscript: pip install \"mobilenets\[export\]\""):
        backends.load_backend(name, weights)
    assert not backends.is_cached(name, weights)


def test_weights_that_say_nothing_of_their_images_are_refused(weights):
    needs_onnx()
    with pytest.raises(ValueError, match="says nothing of image_size"):
        backends.load_backend("onnxruntime", replace(weights, preprocessing={}))


def test_a_file_is_written_once(weights, written, cache):
    assert not backends.is_cached("onnxruntime", weights)
    first = backends.load_backend("onnxruntime", weights)
    assert backends.is_cached("onnxruntime", weights)
    assert backends.load_backend("onnxruntime", weights) == first
    assert len(written) == 1
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]  # and nothing half made


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


def test_a_damaged_file_is_made_anew(weights, written, cache):
    good = backends.load_backend("onnxruntime", weights)
    (file,) = cache.iterdir()
    file.write_bytes(b"0nnx" * 100)
    assert not backends.is_cached("onnxruntime", weights)
    assert backends.load_backend("onnxruntime", weights) == good
    assert len(written) == 2
    assert file.read_bytes() == good


def test_without_a_cache_it_goes_on(weights, written, cache):
    cache.write_text("a file, where a folder should be")
    for count in (1, 2):
        assert backends.load_backend("onnxruntime", weights) == b"onnx" * 100
        assert len(written) == count


def test_the_cache_keeps_what_was_used_last(weights, written, cache, monkeypatch):
    monkeypatch.setattr("mobilenets.cache.MAX_FILES", 2)
    key, value = next(iter(weights.state_dict.items()))
    nets = [replace(weights, state_dict=weights.state_dict | {key: value + i}) for i in range(3)]
    for net in nets:
        backends.load_backend("onnxruntime", net)
    assert [backends.is_cached("onnxruntime", net) for net in nets] == [False, True, True]


def test_torch_backends_need_no_file(weights):
    assert all(backends.is_cached(name, weights) for name in ("eager", "folded", "compiled"))


def recorded(names, start):
    """`start` that notes which backends it starts."""

    def call(name, *args):
        names.append(name)
        return start(name, *args)

    return call


def without(monkeypatch, package):
    """As if a package were not installed."""
    find_spec = backends.find_spec
    monkeypatch.setattr(
        backends, "find_spec", lambda name: None if name == package else find_spec(name)
    )
