"""Whatever kills a run, and whenever: the next one goes on."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).parents[2] / "train.py")


def start(*options):
    return subprocess.Popen(
        [sys.executable, SCRIPT, *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.resilience
def test_twelve_kills_at_random_moments(tiny, compare, tmp_path, monkeypatch):
    """Run after run is killed and started again with the same command until it ends."""
    monkeypatch.chdir(tmp_path)
    options = [*tiny, "ema_decay=0.9", "data.augment.mixup=0.2", "trainer.max_epochs=6"]
    options += ["trainer.val_check_interval=3", "resume=auto"]
    begin = time.monotonic()
    whole = start(*options, "hydra.run.dir=whole")
    assert whole.communicate()[0] and whole.returncode == 0
    length, draw, kills, runs = time.monotonic() - begin, random.Random(0), 0, 0
    while kills < 12:
        process = start(*options, f"hydra.run.dir=cut_{runs}")
        time.sleep(draw.uniform(0.3, 0.95) * length)
        kills += process.poll() is None
        process.kill()
        output = process.communicate()[0]
        assert process.returncode in (0, -signal.SIGKILL), output
        runs += process.returncode == 0
    last = start(*options, f"hydra.run.dir=cut_{runs}")
    output = last.communicate()[0]
    assert last.returncode == 0, output
    for number in range(runs + 1):
        assert compare("whole", f"cut_{number}") == []
        assert not list(Path(f"cut_{number}").glob(".*")), "what was half written is swept away"
