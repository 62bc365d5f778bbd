"""What the README shows works as it is shown."""

import re
import shlex
from pathlib import Path

import pytest

from mobilenets.config import TrainConfig
from mobilenets.config.compose import Source, compose_jobs

README = (Path(__file__).parents[1] / "README.md").read_text()
TRAIN_LINES = re.findall(r"^python train\.py (?!resume)([^#\n]+)", README, flags=re.M)


@pytest.mark.parametrize("line", TRAIN_LINES)
def test_every_training_command_is_sound(line):
    words = shlex.split(line)
    overrides = [word for word in words if word != "--multirun"]
    compose_jobs(TrainConfig, Source("train"), overrides, sweep="--multirun" in words)


def test_the_readme_has_training_commands():
    assert len(TRAIN_LINES) >= 9


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    (example,) = [example for example in examples if "create_model" in example]
    files = ("runs/", ".h5")  # that are not here
    lines = [line for line in example.splitlines() if not any(file in line for file in files)]
    names: dict = {}
    exec("\n".join(lines), names)  # the README is ours
    assert names["net"].num_classes == 37
    assert [tuple(map.shape[2:]) for map in names["maps"]] == [
        (112, 112), (56, 56), (28, 28), (14, 14), (7, 7)
    ]  # fmt: skip
