"""Which weights are kept, and when a run ends early."""

import pytorch_lightning as pl
import torch

from mobilenets.training import checkpoints, early_stopping


class Scripted(pl.LightningModule):
    """A module whose val/top1 follows a script."""

    def __init__(self, scores):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scores = scores

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/top1", self.scores[self.current_epoch], batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def run(folder, scores, patience=None):
    best, last = checkpoints(folder)
    trainer = pl.Trainer(
        max_epochs=len(scores),
        accelerator="cpu",
        callbacks=[best, last, *early_stopping(patience)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(1, 1))
    trainer.fit(Scripted(scores), loader, loader)
    return trainer, best


def epoch(path):
    return torch.load(path, weights_only=True)["epoch"]


def test_best_is_the_highest_validation_accuracy_and_last_the_last_epoch(tmp_path):
    _, best = run(tmp_path, [0.2, 0.7, 0.5, 0.6])
    assert epoch(tmp_path / "best.ckpt") == 1
    assert epoch(tmp_path / "last.ckpt") == 3
    assert best.best_model_path == str(tmp_path / "best.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_run_ends_after_so_many_validations_without_a_better_one(tmp_path):
    trainer, _ = run(tmp_path, [0.2, 0.7, 0.5, 0.6, 0.9], patience=2)
    assert trainer.current_epoch == 4
    assert epoch(tmp_path / "best.ckpt") == 1
