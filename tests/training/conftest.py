"""A tiny run whose validation accuracy follows a script."""

import pytest
import pytorch_lightning as pl
import torch


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
def run_scripted(make_trainer):
    """run_scripted(scores, callbacks) -> the trainer after a run with four batches per epoch."""

    def run(scores, callbacks, **options):
        options = {"max_epochs": len(scores), "num_sanity_val_steps": 0} | options
        trainer = make_trainer(callbacks=callbacks, **options)
        loader = torch.utils.data.DataLoader(torch.zeros(4, 1))
        trainer.fit(Scripted(scores), loader, loader)
        return trainer

    return run
