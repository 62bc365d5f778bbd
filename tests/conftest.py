"""What all tests share."""

import logging
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)  # the nets of the tests are too small to share out


@pytest.fixture(autouse=True)
def quiet_lightning():
    """What a run leaves unsaid is no error of a test either."""
    from mobilenets.reports import quiet_lightning

    with warnings.catch_warnings():
        quiet_lightning()
        yield


def _randomise(model):
    """Give the norms and the classifier values that an untrained net does not have."""
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


@pytest.fixture(autouse=True)
def quiet_log():
    """What a run in this process has set up to write its messages doesn't write those of others."""
    before = list(logging.root.handlers)
    yield
    for handler in [handler for handler in logging.root.handlers if handler not in before]:
        logging.root.removeHandler(handler)
        handler.close()


@pytest.fixture
def randomise():
    """randomise(model) -> the model in evaluation mode, with values that a trained net has."""
    return _randomise


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
