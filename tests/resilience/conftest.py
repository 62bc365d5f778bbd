"""Runs that stop and resume, and comparisons of two runs."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from mobilenets.reports import TensorBoardReport
from mobilenets.training import AtomicCheckpointIO

TINY = [
    *("model=mobilenet_v1", "model.width_mult=0.05", "model.divisor=4", "model.shallow=true"),
    *("data=fake", "data.num_samples=64", "data.val_fraction=0.3", "data.batch_size=8"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hardware.tune=false"),
    *("trainer.max_epochs=2", "trainer.log_every_n_steps=3", "checkpoint.every_minutes=0"),
]  # 5 batches an epoch, and a checkpoint after each


@pytest.fixture
def train(script, monkeypatch):
    """train("setting=...") -> (exit code, standard output, standard error), in this process."""
    monkeypatch.setattr(TensorBoardReport, "on_test_end", lambda *_: None)  # its figures are slow
    # Event files of the same second and process are read in the order of their names: 10 before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1000))
    return partial(script, "train")


@pytest.fixture(scope="session")
def _whole_runs(tmp_path_factory):
    return tmp_path_factory.mktemp("whole"), {}


@pytest.fixture
def train_whole(train, _whole_runs):
    """train_whole(*overrides): put a run that nothing interrupts into "whole", trained once."""
    folder, runs = _whole_runs

    def run(*overrides):
        if overrides in runs:
            shutil.copytree(runs[overrides], "whole")
            return
        assert train(*overrides, "hydra.run.dir=whole")[0] == 0
        runs[overrides] = shutil.copytree("whole", folder / str(len(runs)))

    return run


@pytest.fixture
def points(monkeypatch, tmp_path):
    """A list of copies of every last.ckpt and best.ckpt, which grows as they are written."""
    copies = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        copy = tmp_path / f"point_{len(copies)}_{Path(path).name}"
        shutil.copy(path, copy)
        copies.append(copy)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
    return copies


def differences(one, other):
    """List the differences of two runs: in the bits of last.ckpt, and in TensorBoard's scalars.

    Of speeds, only the steps are compared.
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
    """Return the scalars of a run as TensorBoard reads them: {tag: [(step, value), ...]}."""
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
    del checkpoint["mobilenets"]["command"]  # contains the folder
    checkpoint["logged"]["metrics"] = {
        key: value
        for key, value in checkpoint["logged"]["metrics"].items()
        if not key.startswith("speed/")
    }
    # The number of validations has no effect on training.
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


def copy_stopped(run, written, to):
    """Copy a run folder to `to`, as if the run was killed after it wrote the last of `written`."""
    shutil.copytree(run, to)
    for name in ("metrics.json", "previous.ckpt", "last.ckpt", "best.ckpt"):
        (Path(to) / name).unlink(missing_ok=True)
    shutil.copy(written[-1], Path(to) / "last.ckpt")
    for best in [path for path in written if path.name.endswith("best.ckpt")][-1:]:
        shutil.copy(best, Path(to) / "best.ckpt")
    return to


@pytest.fixture
def compare():
    """compare(one, other) -> a list of differences of two runs."""
    return differences


@pytest.fixture
def leave_at():
    """leave_at(run, checkpoints, to) -> the run folder as it was after these checkpoints."""
    return copy_stopped


@pytest.fixture
def tiny():
    """The settings of a run of fourteen steps."""
    return TINY
