"""A run that is told to end finishes its step, is saved, and goes on later to the same bits."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from mobilenets.training import Classifier

SCRIPT = Path(__file__).parents[2] / "train.py"
WATCHED = f"""
import runpy, sys
from multiprocessing.process import BaseProcess
sys.path.insert(0, {str(SCRIPT.parent)!r})
join = BaseProcess.join

def watch(self, timeout=None):
    join(self, timeout)
    if timeout and self.is_alive():
        print("waited in vain for a worker to end", flush=True)

BaseProcess.join = watch
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
EVERYTHING = ["ema_decay=0.9", "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=4"]


@contextmanager
def sending(number, hook, count):
    """A run gets a signal in the count-th call of one of its hooks."""
    original, calls = getattr(Classifier, hook), []

    def send(self, *args, **kwargs):
        calls.append(hook)
        if len(calls) == count:
            os.kill(os.getpid(), number)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, hook, send)
        yield
    assert len(calls) >= count


@pytest.mark.parametrize(
    ("number", "hook", "count", "code"),
    [
        (signal.SIGTERM, "training_step", 5, 143),
        *(
            pytest.param(*case, marks=pytest.mark.resilience)
            for case in (
                (signal.SIGINT, "validation_step", 2, 130),
                (signal.SIGINT, "training_step", 6, 130),
                (signal.SIGINT, "training_step", 4, 130),
                (signal.SIGTERM, "training_step", 1, 143),
                (signal.SIGTERM, "training_step", 10, 143),
                (signal.SIGTERM, "validation_step", 1, 143),
                (signal.SIGTERM, "validation_step", 3, 143),
                (signal.SIGTERM, "on_validation_epoch_end", 1, 143),
                (signal.SIGTERM, "on_train_epoch_end", 1, 143),
                (signal.SIGTERM, "optimizer_step", 3, 143),
            )
        ),
    ],
)
def test_a_signal_ends_a_run_that_goes_on_as_if_there_had_been_none(
    number, hook, count, code, train, train_whole, tiny, compare
):
    options = [*tiny, *EVERYTHING, "checkpoint.every_minutes=10"]
    train_whole(*options)
    with sending(number, hook, count):
        ended, out, _ = train(*options, "hydra.run.dir=cut")
    assert ended == code
    assert "resume=" in out
    assert train("resume=cut")[0] == 0
    assert compare("whole", "cut") == []


@pytest.mark.resilience
def test_a_validation_that_was_cut_short_is_made_once_whatever_comes_after(
    train, train_whole, tiny, compare, leave_at, points
):
    """The run goes on with it, and is killed long after: the second time it goes on just so."""
    train_whole(*tiny)
    with sending(signal.SIGTERM, "validation_step", 2):
        assert train(*tiny, "hydra.run.dir=cut")[0] == 143
    cut = points[-1]
    assert train("resume=cut")[0] == 0
    again = leave_at("cut", [cut], "again")
    assert train(f"resume={again}")[0] == 0
    assert compare("whole", "cut") == compare("whole", "again") == []


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["early_stopping=1", "trainer.max_epochs=6"], marks=pytest.mark.resilience),
    ],
)
def test_a_signal_in_the_test_ends_it_and_only_the_test_is_made_again(
    options, train, train_whole, tiny, compare
):
    train_whole(*tiny, *options)
    with sending(signal.SIGTERM, "test_step", 1):
        assert train(*tiny, *options, "hydra.run.dir=cut")[0] == 143
    code, out, _ = train("resume=cut")
    assert code == 0
    assert "epoch " not in out
    assert compare("whole", "cut") == []


def test_slurm_starts_a_run_again(train, tiny, monkeypatch, tmp_path):
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "$@" > asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with sending(signal.SIGUSR1, "training_step", 3):
        assert train(*tiny, "hydra.run.dir=run")[0] == 75
    assert (tmp_path / "asked").read_text() == "requeue 17\n"


@pytest.mark.resilience
def test_a_second_interrupt_leaves_at_once(tiny, tmp_path):
    code = (
        f"import runpy, sys, time; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from mobilenets.training import Classifier\n"
        "def step(*_):\n"
        "    print('stepping', flush=True); time.sleep(60); print('stepped', flush=True)\n"
        "Classifier.training_step = step\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *tiny, "hydra.run.dir=run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert any("stepping" in line for line in process.stdout), process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert "finishing the step" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "stepped" not in process.stdout.read()


@pytest.mark.resilience
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_of_a_run_leaves_the_workers_at_work(
    number, code, train, tiny, compare, tmp_path
):
    """As Ctrl-C in a terminal, and schedulers, send it: the batches of the step still come."""
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for index in range(24):
            Image.new("RGB", (20, 20), (index, 0, 0)).save(
                tmp_path / "animals" / name / f"{index}.png"
            )
    options = [text for text in tiny if not text.startswith("data")]
    options += ["data=folder", "data.root=animals", "data.image_size=16", "data.batch_size=4"]
    options += ["data.num_workers=2", "trainer.max_epochs=30", "checkpoint.every_minutes=10"]
    assert train(*options, "hydra.run.dir=whole")[0] == 0
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on their number
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED, *options, "hydra.run.dir=cut"],
        env=os.environ | threads,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert any(line.startswith("epoch   2") for line in process.stdout), process.stderr.read()
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert "in vain" not in out
    assert train("resume=cut")[0] == 0
    assert compare("whole", "cut") == []
