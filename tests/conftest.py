"""Fixtures for all tests: small images, nets that look trained, trainers, scripts."""

import importlib.util
import io
import logging
import os
import runpy
import shutil
import sys
import traceback
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

ROOT = Path(__file__).parents[1]

PREPROCESSING = {
    "image_size": 32,
    "in_channels": 3,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "crop_pct": 0.8,
    "interpolation": "bilinear",
}

torch.set_num_threads(1)  # more threads would slow down nets as small as those of the tests


@pytest.fixture(autouse=True)
def quiet_lightning():
    """Ignore the warnings of Lightning that a run ignores."""
    from mobilenets.reports import quiet_lightning

    with warnings.catch_warnings():
        quiet_lightning()
        yield


@pytest.fixture(autouse=True)
def quiet_log():
    """Remove the log handlers that a run in this process has added."""
    before = list(logging.root.handlers)
    yield
    for handler in [handler for handler in logging.root.handlers if handler not in before]:
        logging.root.removeHandler(handler)
        handler.close()


# Images


def _make_picture(seed=0, width=60, height=45):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return Image.fromarray(noise.astype(np.uint8)).resize((width, height))


def _write_images(folder, count, *, first=0, name="{:03}.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        seed = (*os.fsencode(folder.name), number)
        picture = _make_picture(seed, width=24, height=20)
        picture.save(folder / name.format(number))


@pytest.fixture
def picture():
    """picture(seed, width, height) -> a PIL image of coarse noise."""
    return _make_picture


@pytest.fixture
def write_images():
    """write_images(folder, count) writes different images of 24x20 pixels: 000.jpg, 001.jpg, ..."""
    return _write_images


# Nets and training


def _randomise(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
            nn.init.normal_(module.bias)
    return model.eval()


@pytest.fixture
def randomise():
    """randomise(model) -> the model in eval mode, with norms and classifier as after training."""
    return _randomise


@pytest.fixture
def make_trainer(tmp_path):
    """make_trainer(max_epochs=..., ...) -> a Trainer on the CPU that logs and prints nothing."""
    import pytorch_lightning as pl

    def make(**options):
        return pl.Trainer(
            **{"accelerator": "cpu", "devices": 1, "default_root_dir": tmp_path} | options,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )

    return make


# Scripts


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    """script("train", "model=...") -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(name, *overrides):
        monkeypatch.setattr(sys, "argv", [str(ROOT / f"{name}.py"), *overrides])
        code = 0
        try:
            runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def _finished_runs(tmp_path_factory):
    folders = {}

    def find(*overrides):
        if overrides not in folders:
            folder = tmp_path_factory.mktemp("finished")
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
                patch.chdir(folder)
                patch.setattr(sys, "argv", ["train.py", *overrides, "hydra.run.dir=run"])
                try:
                    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
                except SystemExit as stop:
                    raise AssertionError(f"train.py ended with {stop.code}") from stop
            folders[overrides] = folder / "run"
        return folders[overrides]

    return find


@pytest.fixture
def finished_run(_finished_runs, tmp_path):
    """finished_run(*overrides): put a finished run of train.py into "run", trained once for all."""

    def copy(*overrides):
        shutil.copytree(_finished_runs(*overrides), tmp_path / "run")

    return copy


@pytest.fixture
def load_script():
    """load_script("check_data") -> the module of scripts/check_data.py, imported anew."""

    def load(name):
        path = ROOT / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def answer():
    """answer(read, path=None) -> the sentence of the ValueError that `read` raises."""

    def call(read, path=None):
        """The words of the answer, after a look at its form."""
        with pytest.raises(ValueError) as error:
            read()
        text = str(error.value)
        assert len(text.splitlines()) <= 15
        assert path is None or str(path) in text, "it names the file"
        shown = "".join(traceback.format_exception(error.value))  # of those who call it from Python
        assert "weights_only" not in shown.replace("weights_only=True", "")
        return text

    return call
