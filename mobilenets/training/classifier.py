"""The LightningModule: one training step, one evaluation step, and what a checkpoint holds."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from mobilenets.data import Batch
from mobilenets.data.randomness import counter_hash
from mobilenets.models import fold_batchnorm
from mobilenets.training.ema import WeightEMA
from mobilenets.training.kernels import use_fast_modules
from mobilenets.training.quantization import activation_ranges, set_ranges
from mobilenets.training.schedule import Schedule
from mobilenets.weights import RECORD_KEY


class Classifier(pl.LightningModule):
    """A net that learns to tell `num_classes` classes apart.

    Args:
        net: (N, C, H, W) images -> (N, num_classes) logits; its modules get faster (`speed_up`).
        optimizer: net -> optimizer, its parameter groups at their base learning rates.
        schedule: (epochs passed, epochs in all, one batch in epochs) -> factor on those rates.
        mixing: (images, labels) -> (images, soft labels (N, num_classes)): Mixup or CutMix.
        label_smoothing: share of the target spread over all classes (arXiv 1512.00567, section 7).
        ema_decay: decay of an average of the weights, which is then what is evaluated.
        channels_last: keep the net in this memory format.
        seed: with the epoch, the batch and the rank it determines dropout and mixing.
        record: plain data that every checkpoint carries (`mobilenets.weights.make_record`).
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        *,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        schedule: Schedule | None = None,
        mixing: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float | None = None,
        channels_last: bool = True,
        seed: int = 0,
        record: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if channels_last:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net = use_fast_modules(net)
        self.ema = WeightEMA(net, ema_decay) if ema_decay else None
        self.optimizer = optimizer
        self.schedule = schedule
        self.mixing = mixing
        self.label_smoothing = label_smoothing
        self.seed = seed
        self.record = record or {}
        self.train_metrics = metrics(num_classes)
        self.val_metrics = metrics(num_classes)
        self.test_metrics = metrics(num_classes)
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.folded: Callable[[Tensor], Tensor] | None = None  # a function: it isn't saved
        self.loss: Tensor | None = None  # of the last batch
        self.figures: dict[str, float] = {}  # of the last validation

    @property
    def eval_net(self) -> nn.Module:
        """The net that is evaluated: the average of the weights where one is kept."""
        return self.ema.module if self.ema else self.net

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, num_classes) logits, as every evaluation has them."""
        # Never compiled: eval.py gets the same bits.
        predict = self.folded or self.eval_net.forward
        return predict(images.to(self.dtype)).float()

    # Training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; each group keeps its base rate as `initial_lr`."""
        assert self.optimizer is not None
        optimizer = self.optimizer(self.net)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def on_train_start(self) -> None:
        """Has the average follow the net, now that it is on its device in its number format."""
        if self.ema is not None:
            self.ema.follow(self.net)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Sets the learning rates and the seed from the position alone."""
        assert self.schedule is not None
        batches = self.trainer.num_training_batches
        factor = self.schedule(
            self.current_epoch + batch_idx / batches, self.num_epochs(), 1 / batches
        )
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor
        if self.is_logged:
            self.log("lr", self.trainer.optimizers[0].defaults["lr"] * factor)
        # On a CPU torch.manual_seed takes 0.7 ms for the generators of devices that aren't there.
        on_cpu = self.device.type == "cpu"
        set_seed = torch.default_generator.manual_seed if on_cpu else torch.manual_seed
        set_seed(counter_hash(self.seed, self.current_epoch, batch_idx, self.global_rank))

    @property
    def is_logged(self) -> bool:
        """Whether Lightning writes the values of this step; to hand it all others takes 2 ms."""
        return self.trainer._logger_connector.should_update_logs

    def num_epochs(self) -> float:
        """The length of the run in epochs, whichever of max_epochs and max_steps ends it."""
        trainer, lengths = self.trainer, []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            lengths.append(float(trainer.max_epochs))
        if trainer.max_steps > 0:
            batches = trainer.max_steps * trainer.accumulate_grad_batches
            lengths.append(batches / trainer.num_training_batches)
        return min(lengths, default=float("inf"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean cross-entropy of a batch, mixed and smoothed as asked."""
        images, targets = batch.images, batch.labels
        if self.mixing:
            images, targets = self.mixing(images, targets)
        logits = self.net(images.to(self.dtype)).float()  # the loss is taken in float32
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        self.loss = loss.detach()
        self.train_metrics.update(preds=logits.detach(), target=labels, value=self.loss)
        if self.is_logged:
            self.log("train/loss_step", loss)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimizer's step, and the average's."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.global_step + 1)  # it counts this one later

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's loss and accuracies."""
        self.log_dict(prefix_metrics(self.train_metrics.compute(), "train"))
        self.train_metrics.reset()

    # Evaluation

    def fold(self) -> None:
        """Has `forward` use the weights as they are now, the norms folded into the convolutions."""
        if isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy):  # weights whole
            self.folded = fold_batchnorm(self.eval_net).forward

    def on_validation_epoch_start(self) -> None:
        """Folds the net for this validation."""
        self.fold()

    def on_test_epoch_start(self) -> None:
        """Folds the net for this test."""
        self.fold()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the figures of the validation split."""
        self.evaluate(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Logs val/loss, val/top1 and, with more than five classes, val/top5."""
        self.folded = None
        figures = prefix_metrics(self.val_metrics.compute(), "val")
        self.log_dict(figures)
        if not self.trainer.sanity_checking:
            self.figures = {name: float(value) for name, value in figures.items()}
        self.val_metrics.reset()

    def test_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Adds a batch to the figures of the test; returns its logits and losses, (N,)."""
        logits, losses = self.evaluate(batch, self.test_metrics)
        self.confusion.update(logits, batch.labels)
        return logits, losses

    def on_test_epoch_end(self) -> None:
        """Logs the figures under the split's name; keeps the counts in `confusion_matrix`."""
        self.folded = None
        self.confusion_matrix = self.confusion.compute()  # (true class, predicted class)
        self.confusion.reset()
        split = self.trainer.datamodule.test_split  # type: ignore[attr-defined]
        self.log_dict(prefix_metrics(self.test_metrics.compute(), split))
        self.test_metrics.reset()

    def evaluate(self, batch: Batch, figures: MetricCollection) -> tuple[Tensor, Tensor]:
        """Logits (N, num_classes) and cross-entropies (N,), without smoothing."""
        logits = self(batch.images)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        if len(logits):  # or else all images of the batch were bad
            figures.update(preds=logits, target=batch.labels, value=losses)
        return logits, losses

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the file explain itself, and keeps the figures of the epoch so far."""
        checkpoint[RECORD_KEY] = {
            **self.record,
            "metrics": self.figures,
            "activation_ranges": activation_ranges(self.net),
        }
        state = {name: metric.metric_state for name, metric in self.train_metrics.items()}
        checkpoint["train_metrics"] = all_gather_objects(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the figures, and with the command that began the run."""
        self.record["command"] = checkpoint[RECORD_KEY].get("command")
        self.figures = checkpoint[RECORD_KEY]["metrics"]
        set_ranges(self.net, checkpoint[RECORD_KEY].get("activation_ranges", {}))
        states = checkpoint["train_metrics"]
        if len(states) != self.trainer.world_size:  # the epoch is a new one
            return
        for name, state in states[self.global_rank].items():
            metric = self.train_metrics[name]
            metric._update_count = 1  # it is no new one, of which `compute` would warn
            for key, value in state.items():
                setattr(metric, key, value.to(self.device))


def all_gather_objects(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What every process has, in the order of their ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, state)
    return states


def metrics(num_classes: int) -> MetricCollection:
    """Mean loss, top-1 and, where there are more than five classes, top-5: fractions of 1."""
    figures: dict[str, Any] = {"loss": MeanMetric(nan_strategy="disable")}
    for k in (1, 5) if num_classes > 5 else (1,):
        figures[f"top{k}"] = MulticlassAccuracy(
            num_classes, top_k=k, average="micro", validate_args=False
        )
    return MetricCollection(figures, compute_groups=False)


def prefix_metrics(figures: dict[str, Tensor], split: str) -> dict[str, Tensor]:
    """The figures under their logged names, the split's first: "val/top1"."""
    return {f"{split}/{name}": value for name, value in figures.items()}
