"""When a run ends early."""

import pytorch_lightning as pl
import torch

from mobilenets.training import early_stopping


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


def run(folder, scores, callbacks, **options):
    trainer = pl.Trainer(
        max_epochs=len(scores),
        accelerator="cpu",
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(4, 1))
    trainer.fit(Scripted(scores), loader, loader)
    return trainer


def test_a_run_ends_after_so_many_validations_without_a_better_one(tmp_path):
    trainer = run(
        tmp_path, [0.2, 0.7, 0.5, 0.6, 0.9], early_stopping(2), enable_checkpointing=False
    )
    assert trainer.current_epoch == 4
