"""A net, a data set, an optimizer, a schedule and a format of one's own: a line in a dict each.

They work everywhere that ours do, and no test of the suite turns red.
"""

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch

from mobilenets import load_model, save_model
from mobilenets.config import TrainConfig
from mobilenets.config.compose import CONFIGS, Source, compose
from mobilenets.config.groups import (
    CHOICES,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    SmallImagesConfig,
    setting,
)
from mobilenets.config.help import format_help
from mobilenets.config.schema import ExportConfig, ExportFormat
from mobilenets.data import datamodule
from mobilenets.data.memory import RawSplit, check_class_names
from mobilenets.export import FORMATS, torch_export_format
from mobilenets.export.formats import Format
from mobilenets.models import MODELS, MobileNetV1, count_macs, count_parameters, create_model
from mobilenets.models.blocks import ConvBNReLU, DepthwiseSeparableConv
from mobilenets.models.mobilenet import MobileNet, describe_features, dilate, resolve_strides
from mobilenets.training import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parents[1]


class Pebble(MobileNet):
    """Five depthwise separable blocks."""

    name = "pebble"

    def __init__(
        self,
        num_classes=1000,
        in_channels=3,
        width_mult=1.0,
        *,
        dropout=0.0,
        activation="relu6",
        bn_eps=1e-5,
        bn_momentum=0.1,
        padding="symmetric",
        output_stride=32,
        strides="imagenet",
        conv="depthwise",
        channels_per_group=None,
        divisor=8,
    ):
        options = dict(locals())
        channels = [int(c * width_mult) for c in (16, 32, 64, 64, 128, 128)]
        layer_strides = resolve_strides(strides, [2, 1, 2, 1, 2, 2])
        plan = dilate(layer_strides, output_stride)
        layer = {"padding": padding, "activation": activation, "bn_eps": bn_eps}
        layer["bn_momentum"] = bn_momentum
        features = [ConvBNReLU(in_channels, channels[0], stride=plan[0][0], **layer)]
        layer |= {"conv": conv, "channels_per_group": channels_per_group}
        for (c_in, c_out), (stride, dilation) in zip(pairwise(channels), plan[1:], strict=True):
            features.append(
                DepthwiseSeparableConv(c_in, c_out, stride=stride, dilation=dilation, **layer)
            )
        info = describe_features(channels, layer_strides, plan)
        super().__init__(features, channels[-1], info, options)


@dataclass
class PebbleConfig(ModelConfig):
    """Five blocks."""


@dataclass
class StripesConfig(SmallImagesConfig):
    """Two classes."""

    test_fraction: float = setting("share of all images that is the test split", above=0, below=1)
    num_images: int = setting("images in all", at_least=10)


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam with coupled weight decay."""

    amsgrad: bool = setting("divide by the maximum of the averages")


@dataclass
class ConstantConfig(ScheduleConfig):
    """One rate."""


def read_stripes(*, num_images, class_names):
    labels = torch.arange(num_images) % 2
    images = torch.zeros(num_images, 1, 8, 8, dtype=torch.uint8)
    images[labels == 0, :, ::2] = 255
    images[labels == 1, :, :, ::2] = 255
    return {"train": RawSplit(images, labels)}, check_class_names(["down", "up"], class_names)


def write_configs(folder):
    """Write a YAML file for each choice, from those of our own."""
    texts = {name: (CONFIGS / f"{name}.yaml").read_text("utf-8") for name in FILES}
    for name, (new, dropped, added) in FILES.items():
        lines = texts[name].splitlines()[1:]
        lines = [line for line in lines if line.partition(":")[0] not in (*dropped, *added, "name")]
        settings = {"name": new, **added}
        lines += [f"{key}: {value}" for key, value in settings.items()]
        path = folder / Path(name).parent / f"{new}.yaml"
        path.write_text("\n".join([f"# A test's {Path(name).parent}", *lines]) + "\n", "utf-8")
    (folder / "experiment" / "stripes.yaml").write_text(EXPERIMENT)


FILES = {  # our own file -> its counterpart: name, what it lacks, what it has
    "model/mobilenet_v1": (
        "pebble",
        ("shallow", "kernels_per_layer", "head_channels"),
        {"dropout": 0.0},
    ),
    "data/digits": (
        "stripes",
        (),
        {"class_names": "[down, up]", "mean": "[0.5]", "std": "[0.5]", "num_images": 200},
    ),
    "optimizer/sgd": ("adam_again", ("momentum", "nesterov"), {"lr": 1e-3, "amsgrad": "false"}),
    "schedule/cosine": ("constant", ("final_factor",), {}),
}
EXPERIMENT = """# @package _global_
# A small net on stripes
#
# Command: python train.py experiment=stripes
# Cost:    seconds
# Result:  not measured

defaults:
  - override /model: pebble
  - override /data: stripes
  - override /optimizer: adam_again
  - override /schedule: constant

trainer:
  max_epochs: 2
"""
NEW_FORMAT = Format(
    SimpleNamespace(write=torch_export_format.write, load=torch_export_format.load),
    ".again.pt2",
    "PyTorch",
)


def register(setitem):
    """Add one of each, with setitem(dict, key, value)."""
    setitem(MODELS, "pebble", Pebble)
    setitem(datamodule.IN_MEMORY, "stripes", read_stripes)
    setitem(OPTIMIZERS, "adam_again", torch.optim.Adam)
    setitem(SCHEDULES, "constant", lambda epoch, epochs: 1.0)
    setitem(FORMATS, "again", NEW_FORMAT)
    setitem(CHOICES[ModelConfig], "pebble", PebbleConfig)
    setitem(CHOICES[DataConfig], "stripes", StripesConfig)
    setitem(CHOICES[OptimizerConfig], "adam_again", AdamConfig)
    setitem(CHOICES[ScheduleConfig], "constant", ConstantConfig)
    formats = Literal[ExportFormat, "again"]
    setitem(ExportConfig.__annotations__, "format", list[formats])
    setitem(vars(sys.modules[ExportConfig.__module__]), "ExportFormat", formats)


@pytest.fixture
def configs(monkeypatch, tmp_path):
    """The folder of configs; one of each is registered."""
    register(monkeypatch.setitem)
    folder = tmp_path / "configs"
    shutil.copytree(CONFIGS, folder)
    write_configs(folder)
    for name in ("compose", "help", "saved"):
        module = importlib.import_module(f"mobilenets.config.{name}")
        monkeypatch.setattr(module, "CONFIGS", folder)
    return folder


def test_a_net_is_built_by_name_counted_and_trained_whole(configs):
    net = create_model("pebble", num_classes=5)
    assert create_model(net.name, **net.options).options == net.options
    assert 0 < count_parameters(net) < count_parameters(MobileNetV1(num_classes=5))
    assert count_macs(net, (3, 64, 64)) > 0
    logits = net(torch.randn(4, 3, 64, 64))
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    with pytest.raises(ValueError, match="did you mean pebble"):
        create_model("peble")


def test_weights_are_saved_and_loaded(configs, tmp_path, randomise):
    net = randomise(create_model("pebble", num_classes=2, width_mult=0.5))
    save_model(net, tmp_path / "net.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_model(tmp_path / "net.safetensors").eval()(images), net(images))


def test_config_and_help_know_them(configs):
    words = ["experiment=stripes", "data.strides=cifar"]
    config = compose(TrainConfig, Source("train"), words).config
    assert type(config.model) is PebbleConfig and config.model.strides == "cifar"
    options = config.model.options(1000, 3) | {"strides": "imagenet"}
    assert options.pop("name") == "pebble"
    parameters = inspect.signature(Pebble).parameters
    assert options == {key: parameter.default for key, parameter in parameters.items()}
    text = format_help("train", TrainConfig, Source("train"), words)
    for words in ("pebble ", "stripes ", "adam_again ", "constant ", "optimizer.amsgrad=false"):
        assert words in text, words


def test_a_run_with_all_of_them_is_evaluated_and_exported(configs, script):
    options = ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hydra.run.dir=run"]
    code, out, err = script("train", "experiment=stripes", *options)
    assert (code, err) == (0, "")
    assert "model   pebble" in out and "data    stripes, 2 classes" in out
    assert "epoch   2/2" in out
    trained = json.loads(Path("run/metrics.json").read_text())
    assert script("eval", "checkpoint=run", "trainer.accelerator=cpu")[0] == 0
    evaluated = json.loads(Path("run/eval_test.json").read_text())
    assert {key: evaluated[key] for key in trained} == trained
    assert load_model("run").name == "pebble"
    code, out, err = script("scripts/export", "checkpoint=run", "format=again", "threads=1")
    assert (code, err) == (0, "")
    assert Path("run/export/pebble_1.again.pt2").exists()


TESTS = [
    *("config/test_checks.py", "config/test_compose.py", "config/test_configs.py"),
    *("config/test_help.py", "config/test_saved.py", "config/test_schema.py"),
    *("data/test_datamodule.py", "models/test_models.py", "scripts/test_model_table.py"),
    *("training/test_schedule.py", "test_timm.py", "export/test_formats.py"),
]
PLUGIN = """
import importlib.util, pathlib, sys
path = pathlib.Path(__file__).parent / "tests" / "test_additions.py"
spec = importlib.util.spec_from_file_location("additions", path)
additions = sys.modules["additions"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(additions)
additions.register(dict.__setitem__)
"""


@pytest.mark.slow
def test_no_test_turns_red(tmp_path):
    """The suite's tests of what can be added to, in a copy of this checkout with one of each."""
    for name in ("mobilenets", "configs", "tests", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "train.py", "eval.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    write_configs(tmp_path / "configs")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    files = [f"tests/{name}" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "plugin", "-m", "not slow", *files]
    command += ["-k", "not test_formats or again or every_format"]  # others take long
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
