"""TensorBoard: the event file of a run, and its pages besides the scalars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from mobilenets.data import Batch, ImageDataModule
from mobilenets.reports.figures import draw_confusion_matrix, draw_mistakes, make_image_grid
from mobilenets.reports.mistakes import WorstMistakes
from mobilenets.training import Classifier

MAX_IMAGES = 64  # of the first batch


class RunLogger(TensorBoardLogger):
    """A logger that writes the event file directly into the run folder.

    Args:
        folder: the run folder.
        start: the first step that this process logs. TensorBoard hides what an earlier process
            logged from this step on, but did not save in a checkpoint.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        super().__init__(
            str(folder), name="", version="", default_hp_metric=False, purge_step=start
        )
        self.start = start
        self.latest: dict[str, Any] = {"step": None, "metrics": {}}  # of the last step logged

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, and remember those of the last step."""
        super().log_metrics(metrics, step)
        before = self.latest["metrics"] if step == self.latest["step"] else {}
        self.latest = {"step": step, "metrics": before | dict(metrics)}

    def save(self) -> None:
        """Flush the events; no copy of the config is written, as the folder has its config.yaml."""
        self.experiment.flush()


class TensorBoardReport(Callback):
    """A callback that writes the config, a batch, the confusion matrix, mistakes and HPARAMS.

    Args:
        data: the data, with its class names and preprocessing.
        mistakes: the callback that collects the worst mistakes.
        config: the configuration of the run as nested plain data.
    """

    def __init__(
        self, data: ImageDataModule, mistakes: WorstMistakes, config: dict[str, Any]
    ) -> None:
        self.data = data
        self.mistakes = mistakes
        self.config = config
        self.latest: dict[str, Any] = {"step": None, "metrics": {}}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the scalars of the last logged step."""
        if isinstance(trainer.logger, RunLogger):
            checkpoint["logged"] = trainer.logger.latest

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the scalars of the last logged step."""
        self.latest = checkpoint.get("logged", self.latest)

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """The mean and the standard deviation of each channel."""
        return self.data.preprocessing["mean"], self.data.preprocessing["std"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the config of a new run.

        A run that resumes with a validation hides the scalars of its last step (`RunLogger.start`),
        so they are written again.
        """
        # By now the position of a resumed run is restored.
        if (writer := get_event_writer(trainer)) and trainer.global_step == 0:
            text = yaml.safe_dump(self.config, sort_keys=False)
            writer.add_text("config", f"```yaml\n{text}```")
        if isinstance(trainer.logger, RunLogger) and self.latest["step"] == trainer.logger.start:
            trainer.logger.log_metrics(**self.latest)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: Classifier,  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Write the first batch of the run as the net gets it."""
        if (writer := get_event_writer(trainer)) and trainer.global_step == batch_idx == 0:

            def write_images(net: nn.Module, inputs: tuple[Tensor]) -> None:
                grid = make_image_grid(inputs[0][:MAX_IMAGES].detach(), *self.scaling)
                writer.add_image("train/batch", grid.float().cpu())
                hook.remove()

            hook = pl_module.net.register_forward_pre_hook(write_images)

    def on_test_end(
        self,
        trainer: Trainer,
        pl_module: Classifier,  # type: ignore[override]
    ) -> None:
        """Write the confusion matrix, the worst mistakes and the HPARAMS page."""
        writer = get_event_writer(trainer)
        if writer is None:
            return
        split, step = self.data.test_split, trainer.global_step
        matrix = draw_confusion_matrix(pl_module.confusion_matrix, self.data.class_names, split)
        writer.add_figure(f"{split}/confusion_matrix", matrix, step)
        worst = draw_mistakes(self.mistakes.worst, *self.scaling)
        writer.add_figure(f"{split}/worst_mistakes", worst, step)

        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(f"{split}/")
        }
        for summary in hparams(flatten_settings(self.config), metrics):
            assert writer.file_writer is not None
            writer.file_writer.add_summary(summary)


def get_event_writer(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the run's events; None on all ranks but 0, and with other loggers."""
    if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        return trainer.logger.experiment
    return None


def flatten_settings(tree: dict[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Return nested settings as {"group.setting": value}, in types that HPARAMS accepts."""
    leaves: dict[str, bool | float | str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flatten_settings(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            leaves[prefix + key] = value
        elif value is not None:
            leaves[prefix + key] = str(value)
    return leaves
