"""When a run is saved, and which weights are the best."""

import pytest
import pytorch_lightning as pl
import torch

from mobilenets.training import AtomicCheckpointIO, Checkpoints


class Scripted(pl.LightningModule):
    """A module whose val/top1 follows a script, and whose weight counts the steps."""

    def __init__(self, scores):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.scores = list(scores)

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        self.log("val/top1", self.scores[0], batch_size=1)

    def on_validation_epoch_end(self):
        del self.scores[0]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


@pytest.fixture
def written(monkeypatch):
    """The (name, steps) of every file that is written, and whether its weights are of that step."""
    names = []
    save = AtomicCheckpointIO.save_checkpoint

    def note(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        content = torch.load(path, weights_only=True)
        steps = content["global_step"]
        accumulated = content["state_dict"]["weight"]
        assert accumulated == steps, "the weights are those of the step"
        names.append((path.name, steps))

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", note)
    return names


def run(folder, scores, every_minutes=10.0, max_epochs=None, **options):
    checkpoints = Checkpoints(folder, every_minutes=every_minutes)
    trainer = pl.Trainer(
        max_epochs=max_epochs or len(scores),
        accelerator="cpu",
        callbacks=[checkpoints],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(4, 1))
    trainer.fit(Scripted(scores), loader, loader)
    return checkpoints


def test_every_epoch_is_saved_and_the_best_is_the_highest_validation_accuracy(tmp_path, written):
    checkpoints = run(tmp_path, [0.2, 0.7, 0.5, 0.6])
    assert written == [
        ("best.ckpt", 4), ("last.ckpt", 4), ("best.ckpt", 8), ("last.ckpt", 8),
        ("last.ckpt", 12), ("last.ckpt", 16),
    ]  # fmt: skip
    assert checkpoints.best == pytest.approx(0.7)
    assert checkpoints.to_test() == tmp_path / "best.ckpt"


def test_within_an_epoch_it_is_saved_by_the_clock(tmp_path, written):
    run(tmp_path, [0.5], every_minutes=0)
    assert [steps for _, steps in written] == [1, 2, 3, 4, 4]


def test_no_step_is_saved_before_it_is_whole(tmp_path, written):
    run(tmp_path, [0.5], every_minutes=0, accumulate_grad_batches=2)
    assert {steps for _, steps in written} == {1, 2}


def test_the_best_within_an_epoch_is_what_was_validated(tmp_path, written):
    run(tmp_path, [0.5, 0.1, 0.6, 0.2], max_epochs=2, val_check_interval=2)
    assert written == [
        ("best.ckpt", 2), ("last.ckpt", 2), ("last.ckpt", 4), ("best.ckpt", 6), ("last.ckpt", 6),
        ("last.ckpt", 8),
    ]  # fmt: skip


def test_a_validation_amid_a_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="val_check_interval=1 validates in the middle of a step"):
        run(tmp_path, [0.5] * 4, val_check_interval=1, accumulate_grad_batches=2)
    run(tmp_path, [0.5], accumulate_grad_batches=3)  # the last step of an epoch is a shorter one


def test_without_validation_the_last_is_tested(tmp_path, written):
    checkpoints = run(tmp_path, [], max_epochs=1, limit_val_batches=0)
    assert written == [("last.ckpt", 4)]
    assert checkpoints.to_test() == tmp_path / "last.ckpt"


def test_a_trial_run_saves_nothing(tmp_path):
    assert run(tmp_path, [0.5], fast_dev_run=True).to_test() is None
    assert not list(tmp_path.iterdir())
