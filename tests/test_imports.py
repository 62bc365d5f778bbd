"""Which packages are imported before the first training step."""

import gc
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from mobilenets.imports import UNUSED, lean_imports

ROOT = Path(__file__).parents[1]
HEAVY = {*UNUSED, "timm", "sklearn", "pandas", "onnx", "jsonargparse", "torch._inductor.compile_fx"}


def python(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_first_step_loads_nothing_that_it_does_not_use(tmp_path):
    argv = ["train.py", "model.width_mult=0.25"]
    argv += ["trainer.fast_dev_run=true", "trainer.accelerator=cpu", "hydra.run.dir=run"]
    code = f"""
import runpy, sys
sys.argv = {argv}
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
print(*sys.modules)
"""
    *_, last = python(code, tmp_path)
    loaded = set(last.split())
    assert {"torch", "pytorch_lightning", "torchmetrics", "tensorboard"} <= loaded
    assert not loaded & HEAVY


def test_hidden_packages_can_be_imported_afterwards(tmp_path):
    code = """
import gc, sys
from importlib.metadata import version
from importlib.util import find_spec
from mobilenets.imports import lean_imports
with lean_imports():
    print(find_spec("scipy"), gc.isenabled())
    try:
        import scipy
    except ModuleNotFoundError:
        print("absent")
    import torchmetrics
print(gc.isenabled(), "scipy" in sys.modules)
import scipy
import matplotlib.pyplot
print(version("scipy") == scipy.__version__)
"""
    assert python(code, tmp_path) == ["None False", "absent", "True False", "True"]


def test_a_process_that_has_imported_them_before_is_left_alone():
    import torchmetrics  # noqa: F401

    before = gc.get_freeze_count()
    with lean_imports():
        assert gc.isenabled()
        assert find_spec("matplotlib") is not None
        assert version("matplotlib")
    assert gc.get_freeze_count() == before
