"""Lightning's own callbacks, set as this project uses them."""

from pathlib import Path

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

MONITOR = {"monitor": "val/top1", "mode": "max"}


def checkpoints(folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """best.ckpt, chosen by val/top1, and last.ckpt, written at the end of every epoch.

    Two callbacks, because one with `save_last` writes last.ckpt only when the best changes.
    """
    best = ModelCheckpoint(folder, "best", **MONITOR, enable_version_counter=False)  # type: ignore[arg-type]
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    return best, last


def early_stopping(patience: int | None) -> list[Callback]:
    """Ends the run after `patience` validations without a better val/top1; None never does."""
    return [] if patience is None else [EarlyStopping(**MONITOR, patience=patience)]  # type: ignore[arg-type]
