"""Runs that are ended and go on, and what makes two of them the same."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from mobilenets.reports import TensorBoardReport
from mobilenets.training import AtomicCheckpointIO

ROOT = Path(__file__).parents[2]
TINY = [
    *("model=mobilenet_v1", "model.width_mult=0.05", "model.divisor=4", "model.shallow=true"),
    *("data=fake", "data.num_samples=64", "data.val_fraction=0.3", "data.batch_size=8"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hardware.tune=false"),
    *("trainer.max_epochs=2", "trainer.log_every_n_steps=3", "checkpoint.every_minutes=0"),
]  # 5 batches an epoch, and a save after each


@pytest.fixture
def train(monkeypatch, capsys, tmp_path):
    """train("setting=...") -> (exit code, standard output, standard error), in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TensorBoardReport, "on_test_end", lambda *_: None)  # its pictures take long
    # Files of one second and one process are read in the order of their names: 10 before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1000))

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *overrides])
        code = 0
        try:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def points(monkeypatch, tmp_path):
    """Keeps a copy of every last.ckpt and best.ckpt that is written: returns their list."""
    kept = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_keep(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        copy = tmp_path / f"point_{len(kept)}_{Path(path).name}"
        shutil.copy(path, copy)
        kept.append(copy)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_keep)
    return kept


def differences(one, other):
    """What differs between two runs, a line each: the bits of last.ckpt, and TensorBoard's lists.

    Of what is measured by the clock only the steps are compared.
    """
    files = [torch.load(Path(run) / "last.ckpt", weights_only=True) for run in (one, other)]
    found = list(_different(*map(_comparable, files)))
    logs = [scalars(run) for run in (one, other)]
    return found + [
        f"{tag}: {logs[0].get(tag)}, {logs[1].get(tag)}"
        for tag in sorted(logs[0].keys() | logs[1].keys())
        if logs[0].get(tag) != logs[1].get(tag)
    ]


def scalars(run):
    """{tag: [(step, value), ...]} of a run, as TensorBoard shows it."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    lists = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    return {
        tag: [step for step, _ in pairs] if tag.startswith("speed/") else pairs
        for tag, pairs in lists.items()
    }


def _comparable(checkpoint):
    del checkpoint["callbacks"]["EpochReport"]  # times
    del checkpoint["mobilenets"]["command"]  # names the folder
    checkpoint["logged"]["metrics"] = {
        key: value
        for key, value in checkpoint["logged"]["metrics"].items()
        if not key.startswith("speed/")
    }
    # How often Lightning has validated is of no consequence.
    loops = checkpoint["loops"]["fit_loop"]
    return {**checkpoint, "loops": {k: v for k, v in loops.items() if "val_loop" not in k}}


def _different(one, other, at=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _different(one.get(key), other.get(key), f"{at}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _different(*pair, f"{at}/{number}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield f"{at}: tensors differ"
    elif one != other:
        yield f"{at}: {one}, {other}"


def cut(run, written, to):
    """A copy of a run's folder as if a kill had left it with these checkpoints, and more events."""
    shutil.copytree(run, to)
    for name in ("metrics.json", "previous.ckpt", "last.ckpt", "best.ckpt"):
        (Path(to) / name).unlink(missing_ok=True)
    shutil.copy(written[-1], Path(to) / "last.ckpt")
    for best in [path for path in written if path.name.endswith("best.ckpt")][-1:]:
        shutil.copy(best, Path(to) / "best.ckpt")
    return to


@pytest.fixture
def compare():
    """compare(one, other) -> what differs between two runs."""
    return differences


@pytest.fixture
def leave_at():
    """leave_at(run, checkpoints, to) -> the folder of a run that has come as far as these."""
    return cut


@pytest.fixture
def tiny():
    """The settings of a run of fourteen steps."""
    return TINY
