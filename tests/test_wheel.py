"""The wheel carries all that the commands need, and works from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
QUICK = ["model.width_mult=0.25", "trainer.max_epochs=1", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what pip installs of the wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run([*pip, *build], check=True, stdout=subprocess.PIPE)
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", folder / "site", wheel]
    subprocess.run([*pip, *install], check=True, stdout=subprocess.PIPE)
    return folder / "site"


def test_it_trains_evaluates_and_predicts_from_an_empty_folder(installed, tmp_path):
    def run(*words):
        command = [sys.executable, str(installed / "bin" / "mobilenets"), *words]
        environment = os.environ | {"PYTHONPATH": str(installed)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = "import mobilenets.config.compose as c; print(c.CONFIGS)"
    configs = subprocess.check_output(
        [sys.executable, "-c", place],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        text=True,
    )
    assert Path(configs.strip()) == installed / "mobilenets" / "configs"

    assert run("--version").startswith("mobilenets ")
    out = run("train", *QUICK, "hydra.run.dir=run")
    assert "evaluate it  mobilenets eval checkpoint=run/best.ckpt" in out
    assert "test    accuracy" in run("eval", "checkpoint=run/best.ckpt")
    picture = "from PIL import Image; Image.new('L', (8, 8)).save('a.png')"
    subprocess.run([sys.executable, "-c", picture], cwd=tmp_path, check=True)
    assert run("predict", "checkpoint=run", "a.png").startswith("a.png  ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "run"]
