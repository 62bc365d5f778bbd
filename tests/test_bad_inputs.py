"""Bad checkpoints and settings: each is answered by a clear sentence, without a traceback.

A case is what is wrong, what makes it in an empty folder and reads it, and words of the answer.
"""

import io
import pickle
from pathlib import Path

import pytest
import torch
import torchvision

from mobilenets import create_model, load_model
from mobilenets.config import ConfigError, TrainConfig
from mobilenets.config.compose import Source, compose
from mobilenets.weights import RECORD_KEY, load_checkpoint, make_record, start_from

# Checkpoints


class Payload:
    """Would write a file if it were unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


PREPROCESSING = {
    "image_size": 32,
    "in_channels": 3,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}


def net(name="mobilenet_v2", width_mult=0.25, num_classes=3):
    return create_model(name, width_mult=width_mult, num_classes=num_classes)


def weights(prefix="net.", change=lambda value: value):
    return {prefix + key: change(value) for key, value in net().state_dict().items()}


def record(**changes):
    said = make_record(net(**changes.pop("of", {})), ["a", "b", "c"], PREPROCESSING, {"seed": 3})
    return said | changes


def content(state_dict=None, **changes):
    """A whole checkpoint of ours, but for the changes."""
    return {"state_dict": state_dict or weights(), RECORD_KEY: record(**changes), "epoch": 3}


def saved(what):
    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


def without(key):
    return {name: value for name, value in weights().items() if name != f"net.{key}"}


def into(**options):
    """Starts a net with these options from the file."""
    return lambda path: start_from(net(**options), path)


def not_finite(value):
    return torch.full_like(value, torch.nan) if value.is_floating_point() else value


STEM = "features.0.0.weight"
MISMATCH = "does not hold the tensors of a mobilenet_v2"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def flip_bit(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


CHECKPOINTS = {  # what is wrong -> what the file holds, what reads it, words of the answer
    "missing": (None, load_model, "there is no file"),
    "empty": (b"", load_model, "is empty"),
    "a page": (b"<!doctype html><title>404</title>", load_model, "is an HTML page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", load_model, "Git LFS pointer"),
    "a text": (b"weights", load_model, "is of no format that is known here"),
    "a picture": (PNG, load_model, "is of no format that is known here"),
    "half": (lambda: saved(content())[:300_000], load_model, "is not a checkpoint"),
    "a few bytes short": (lambda: saved(content())[:-9], load_model, "is not a checkpoint"),
    "a flipped bit": (lambda: flip_bit(saved(content()), 400_001), load_model, "the checksum of"),
    "NaN": (lambda: content(weights(change=not_finite)), load_model, "holds NaN or infinity in"),
    "integers": (
        lambda: content(weights(change=torch.Tensor.long)), load_model, "int64 in the file, not fl"
    ),
    "texts": (lambda: content(weights(change=str)), load_model, "holds no weights"),
    "a tensor": (lambda: torch.zeros(3), load_model, "holds a Tensor, not a dict"),
    "a module": (lambda: net(), load_model, "holds more than tensors and plain data"),
    "code": (lambda: content() | {"x": Payload()}, load_model, "holds more than tensors and plain"),
    "code, as a plain pickle": (pickle.dumps(Payload()), load_model, "not a checkpoint"),
    "no net": (lambda: {"epoch": 3}, load_model, "holds no weights"),
    "a missing tensor": (lambda: content(without(STEM)), load_model, f"{STEM}: missing"),
    "a stranger": (
        lambda: content(weights() | {"net.x": torch.zeros(1)}), load_model, "x: not in the net"
    ),
    "a prefix": (lambda: content(weights("student.")), load_model, "names begin with 'student.'"),
    "a prefix, no record": (lambda: weights("student."), load_model, "all begin with 'student.'"),
    "ResNet": (lambda: torchvision.models.resnet18().state_dict(), load_model, "no MobileNet"),
    "MobileNetV3": (
        lambda: torchvision.models.mobilenet_v3_small().state_dict(), load_model, "no MobileNet kno"
    ),
    "another width said": (
        lambda: content(of={"width_mult": 0.5}),
        load_model,
        f"{STEM}: (8, 3, 3, 3) in the file, (16, 3, 3, 3) in the net",
    ),
    "another width guessed": (
        lambda: content(of={"width_mult": 0.5}),
        load_model,
        "look like a mobilenet_v2 of width 0.25 with 3 classes",
    ),
    "another net said": (
        lambda: content(of={"name": "mobilenet_v1"}), load_model, "look like a mobilenet_v2 of widt"
    ),
    "more classes said": (
        lambda: content(of={"num_classes": 7}), load_model, "(3, 1280) in the file, (7, 1280) in"
    ),
    "fewer names": (lambda: content(class_names=["a"]), load_model, "has names for 1 classes and"),
    "no names": (lambda: content(class_names=3), load_model, "has a damaged record"),
    "no preprocessing": (lambda: content(preprocessing="x"), load_model, "has a damaged record"),
    "an unknown net": (
        lambda: content(model={"name": "resnet", "options": {}}), load_model, "can't be built: mod"
    ),
    "an unknown option": (
        lambda: content(model={"name": "mobilenet_v2", "options": {"x": 3}}),
        load_model,
        "can't be built: mobilenet_v2: option 'x' is unknown",
    ),
    "another width asked for": (content, into(width_mult=0.5), "width_mult  0.25         0.5"),
    "another width's shapes": (
        content, into(width_mult=0.5), f"{STEM}: (8, 3, 3, 3) in the file, (16, 3, 3, 3) in the net"
    ),
    "another net asked for": (content, into(name="mobilenet_v1"), "mobilenet_v2  mobilenet_v1"),
    "no run": (lambda: weights(""), load_checkpoint, "is not a checkpoint of this project"),
}  # fmt: skip

# Settings

SETTINGS = {  # words of a command line -> words of the answer
    ("data=folder", "data.root=${oc.env:SECRET}"): "data.root: the value of ${oc.env:...} would",
    ("model.weights=https://host/${oc.env:SECRET}",): "model.weights: the value of ${oc.env:...}",
    ("data.class_names=[a,'${oc.env:SECRET,b}']",): "data.class_names: the value of ${oc.env:...}",
    ("data=folder", "data.root=x", "data.on_bad_image=replace"): "data.on_bad_image: ",
    ("data.on_bad_image=skip",): "data.on_bad_image: is an option of",
    ("data=folder",): "data.root: needs a value, e.g. data.root=/data/flowers",
    ("data=digits", "model.num_classes=7"): "model.num_classes: is 7, but the data has 10 classes",
}


# The answers


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name, tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    if "code" in name:  # it would change the default of torch.load
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, (what, read, words) = tmp_path / "net.ckpt", CHECKPOINTS[name]
    what = what() if callable(what) else what
    if what is not None:
        path.write_bytes(what if isinstance(what, bytes) else saved(what))
    assert words in answer(lambda: read(path), path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("words", SETTINGS)
def test_settings(words, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(ConfigError) as error:
        compose(TrainConfig, Source("train"), list(words))
    assert SETTINGS[words] in str(error.value)
    assert "hunter2" not in str(error.value)


def test_the_number_of_bad_inputs():
    assert len(CHECKPOINTS) + len(SETTINGS) == 43


# From the command line


RUN = ["model=mobilenet_v1", "model.width_mult=0.25", "trainer.accelerator=cpu"]
RUN += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "hydra.run.dir=run"]


@pytest.mark.parametrize(
    "name", ["a page", "a flipped bit", "code", "a prefix", "another width said", "fewer names"]
)
def test_bad_weights_and_checkpoints_end_a_script_before_it_begins(name, script):
    what, _, words = CHECKPOINTS[name]
    what = what() if callable(what) else what
    Path("bad.ckpt").write_bytes(what if isinstance(what, bytes) else saved(what))
    for command in (["train", "model.weights=bad.ckpt", *RUN], ["eval", "checkpoint=bad.ckpt"]):
        code, out, err = script(*command)
        assert (code, out) == (1, "")
        assert err.startswith("error: bad.ckpt ") and words in err
        assert len(err.splitlines()) <= 15 and "Traceback" not in err
    assert [path.name for path in Path().iterdir()] == ["bad.ckpt"]


@pytest.mark.parametrize("config", [{"seed": "x"}, {"data": {"name": "digits"}}, {"seed": 3}])
def test_a_checkpoint_with_another_versions_config_is_named(config, script):
    Path("bad.ckpt").write_bytes(saved(content(config=config)))
    code, _, err = script("eval", "checkpoint=bad.ckpt")
    assert code == 1
    assert err.startswith("error: bad.ckpt") and len(err.splitlines()) <= 15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content | {"x": Payload()}, "holds more than tensors and plain data"),
        (lambda content: weights(), "is not a checkpoint to resume from"),
        (lambda content: [1], "holds a list, not a dict of weights"),
    ],
)
def test_a_run_does_not_go_on_from_what_is_no_checkpoint(change, words, script, finished_run):
    finished_run(*RUN, "data=fake", "data.num_samples=20", "data.batch_size=9")
    torch.save(change(torch.load("run/last.ckpt", weights_only=True)), "run/last.ckpt")
    code, _, err = script("train", "resume=run/last.ckpt", "trainer.max_epochs=2")
    assert code == 1 and len(err.splitlines()) == 1
    assert "run/last.ckpt " in err and words in err
    assert not Path("executed").exists()
