"""Two processes of torchrun: one ends in whatever way, and all start again and go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SABOTAGE = f"""
import os, runpy, signal, sys, time
from datetime import timedelta
sys.path.insert(0, {str(ROOT)!r})
from mobilenets.training import Classifier
from mobilenets.training.fault_tolerance import distributed

distributed.TIMEOUT = timedelta(seconds=15)
step, end = Classifier.training_step, os.environ.get("END")

def training_step(self, batch, batch_idx):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and os.environ["RANK"] == "1" and self.global_step == 4:
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "raising":
            raise RuntimeError("broken")
        if end == "hanging":
            time.sleep(1000)
    return step(self, batch, batch_idx)

Classifier.training_step = training_step
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""


def torchrun(folder, end, options):
    Path("sabotage.py").write_text(SABOTAGE)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--max-restarts=2", f"--rdzv-endpoint=localhost:{29500 + os.getpid() % 1000}"]
    done = subprocess.run(
        [*command, "sabotage.py", *options, f"hydra.run.dir={folder}", "resume=auto"],
        env=os.environ | {"END": end, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.resilience
def test_a_process_that_ends_or_hangs_leaves_the_run_the_same(tiny, compare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*tiny, "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=4"]
    options += ["ema_decay=0.9"]
    torchrun("whole", "", options)
    for end in ("killed", "raising", "hanging"):
        torchrun(end, end, options)
        assert compare("whole", end) == [], end
