"""What TensorBoard shows besides the scalars that the training logs."""

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
from mobilenets.reports.figures import confusion_figure, image_grid, mistakes_figure
from mobilenets.reports.mistakes import WorstMistakes
from mobilenets.training import Classifier

SHOWN_IMAGES = 64


class RunLogger(TensorBoardLogger):
    """Writes the event file straight into the run folder.

    Args:
        folder: the run's.
        start: the first step that this process logs; what an earlier one logged from there on, and
            did not live to save, is no longer shown.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        super().__init__(
            str(folder), name="", version="", default_hp_metric=False, purge_step=start
        )
        self.start = start
        self.latest: dict[str, Any] = {"step": None, "metrics": {}}  # of the last step logged

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes scalars, and remembers those of the last step."""
        super().log_metrics(metrics, step)
        before = self.latest["metrics"] if step == self.latest["step"] else {}
        self.latest = {"step": step, "metrics": before | dict(metrics)}

    def save(self) -> None:
        """Flushes the events. The folder's config.yaml is the one copy of the config."""
        self.experiment.flush()


class TensorBoardReport(Callback):
    """The config, a batch as the net sees it, the confusion matrix, the mistakes, HPARAMS.

    Args:
        data: names the classes and says how images were normalised.
        mistakes: the callback that collects them.
        config: the run's configuration as nested plain data.
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
        """Keeps what the last step has logged."""
        if isinstance(trainer.logger, RunLogger):
            checkpoint["logged"] = trainer.logger.latest

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes it up."""
        self.latest = checkpoint.get("logged", self.latest)

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel."""
        return self.data.preprocessing["mean"], self.data.preprocessing["std"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the config; a resumed run, whose position is restored by now, has it already.

        Where that goes on with a validation, the figures of its step are written once more.
        """
        if (writer := event_writer(trainer)) and trainer.global_step == 0:
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
        """Has the first batch of the run recorded on its way into the net."""
        if (writer := event_writer(trainer)) and trainer.global_step == batch_idx == 0:

            def record(net: nn.Module, inputs: tuple[Tensor]) -> None:
                grid = image_grid(inputs[0][:SHOWN_IMAGES].detach(), *self.scaling)
                writer.add_image("train/batch", grid.float().cpu())
                hook.remove()

            hook = pl_module.net.register_forward_pre_hook(record)

    def on_test_end(
        self,
        trainer: Trainer,
        pl_module: Classifier,  # type: ignore[override]
    ) -> None:
        """Draws the confusion matrix and the mistakes, and fills the HPARAMS tab."""
        writer = event_writer(trainer)
        if writer is None:
            return
        split, step = self.data.test_split, trainer.global_step
        matrix = confusion_figure(pl_module.confusion_matrix, self.data.class_names, split)
        writer.add_figure(f"{split}/confusion_matrix", matrix, step)
        worst = mistakes_figure(self.mistakes.worst, *self.scaling)
        writer.add_figure(f"{split}/worst_mistakes", worst, step)

        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(f"{split}/")
        }
        for summary in hparams(flatten_settings(self.config), figures):
            assert writer.file_writer is not None
            writer.file_writer.add_summary(summary)


def event_writer(trainer: Trainer) -> SummaryWriter | None:
    """The writer of the run's events, on the process that has one."""
    if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        return trainer.logger.experiment
    return None


def flatten_settings(tree: dict[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Nested settings -> "group.setting": value, in the types that HPARAMS takes."""
    leaves: dict[str, bool | float | str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flatten_settings(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            leaves[prefix + key] = value
        elif value is not None:
            leaves[prefix + key] = str(value)
    return leaves
