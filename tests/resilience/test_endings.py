"""What ends a run, what it says then, and what is left to go on with."""

import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from mobilenets.data.files import FileSet
from mobilenets.training import Classifier


def finite(path):
    state = torch.load(path, weights_only=True)["state_dict"]
    return all(value.isfinite().all() for value in state.values())


def test_a_finished_run_says_so_and_goes_on_when_it_is_made_longer(train, tiny):
    assert train(*tiny, "hydra.run.dir=run")[0] == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    code, out, _ = train("resume=run")
    assert code == 0
    assert "is finished: raise trainer.max_epochs to train further" in out
    log = {path for path in before if path.name == "train.log"}
    assert {path for path in before if path.read_bytes() != before[path]} == log
    assert set(Path("run").iterdir()) == set(before)
    code, out, _ = train("resume=run", "trainer.max_epochs=3")
    assert code == 0
    assert "epoch   3/3" in out


def test_the_same_command_starts_goes_on_and_ends_a_run(train, tiny, monkeypatch):
    command = [*tiny, "hydra.run.dir=run", "resume=auto"]
    step = Classifier.training_step

    def end(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise RuntimeError("a power cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(Classifier, "training_step", end)
        train(*command)
    code, out, _ = train(*command)
    assert code == 0
    _, resumed, out = out.partition("resume  run/last.ckpt")
    assert resumed
    assert [line[:11] for line in out.splitlines() if line[:5] == "epoch"] == ["epoch   2/2"]
    assert "is finished" in train(*command)[1]
    code, _, err = train(*command, "seed=4")
    assert code == 2
    assert "seed: 0 in the resumed run, 4 now" in err


@pytest.mark.resilience
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it_and_the_run_is_the_same(
    train, tiny, compare, leave_at, points
):
    assert train(*tiny, "hydra.run.dir=whole")[0] == 0
    leave_at("whole", points[:3], "cut")
    Path("cut/last.ckpt").rename("cut/previous.ckpt")
    Path("cut/last.ckpt").write_bytes(Path("cut/previous.ckpt").read_bytes()[:-1000])
    code, out, _ = train("resume=cut")
    assert code == 0
    assert "cut/last.ckpt is damaged or missing: resuming from" in out
    assert compare("whole", "cut") == []


@pytest.mark.parametrize("what", ["loss", pytest.param("gradient", marks=pytest.mark.resilience)])
def test_a_run_ends_before_the_step_that_would_spoil_it(what, train, tiny, monkeypatch):
    step = Classifier.training_step

    def spoil(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.global_step == 6 and what == "loss":
            self.loss = loss.detach() * float("nan")
            return loss * float("nan")
        if self.global_step == 6:
            self.net.features[0][0].weight.register_hook(lambda grad: grad * float("inf"))
        return loss

    monkeypatch.setattr(Classifier, "training_step", spoil)
    code, _, err = train(*tiny, "hydra.run.dir=run")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: step 7 is not finite and was not taken (loss ")
    assert "learning rate 0." in err
    assert "first non-finite gradient in features." in err
    assert torch.load("run/last.ckpt", weights_only=True)["global_step"] == 6
    assert finite("run/last.ckpt")


def animals(root):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(24):
            Image.new("RGB", (20, 20), (number, 0, 0)).save(root / name / f"{number}.png")


@pytest.mark.resilience
def test_a_killed_worker_is_one_sentence(train, tiny, monkeypatch, tmp_path):
    animals(tmp_path / "animals")
    load, process = FileSet.__getitem__, os.getpid()

    def be_killed(self, key):
        if os.getpid() != process and key[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, key)

    monkeypatch.setattr(FileSet, "__getitem__", be_killed)
    options = [text for text in tiny if not text.startswith("data")]
    options += ["data=folder", "data.root=animals", "data.image_size=16", "data.batch_size=4"]
    code, _, err = train(*options, "data.num_workers=2", "hydra.run.dir=run")
    assert code == 1
    assert err.startswith("error: a worker process was killed while loading images, usually ")
    assert "data.num_workers=1 (now 2) or data.batch_size=2 (now 4)" in err
    assert len(err.splitlines()) == 1
