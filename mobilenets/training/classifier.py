"""The LightningModule: a training step, an evaluation step, and the content of a checkpoint."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from mobilenets.data import Batch
from mobilenets.data.randomness import hash_counters
from mobilenets.models import fold_batchnorm
from mobilenets.training.ema import WeightEMA
from mobilenets.training.fault_tolerance.distributed import all_gather_objects
from mobilenets.training.fault_tolerance.lightning_internals import (
    get_metric_state,
    is_logging_step,
    restore_metric_state,
)
from mobilenets.training.quantization import get_activation_ranges, set_activation_ranges
from mobilenets.training.schedule import Schedule
from mobilenets.weights import RECORD_KEY


class Classifier(pl.LightningModule):
    """A net, and how it learns to classify images.

    Args:
        net: (N, C, H, W) images -> (N, num_classes) logits.
        num_classes: the number of classes.
        optimizer: net -> optimizer, with its parameter groups at their base learning rates.
        schedule: (epochs passed, epochs in total, one batch in epochs) -> factor on those rates.
        mixing: (images, labels) -> (images, soft labels (N, num_classes)): Mixup or CutMix.
        label_smoothing: share of the target spread over all classes (arXiv 1512.00567, section 7).
        ema_decay: decay of an EMA of the weights, which is then evaluated in place of the net.
        channels_last: convert the net to this memory format.
        seed: determines dropout and mixing, together with the epoch, the batch and the rank.
        record: plain data to store in every checkpoint (`mobilenets.weights.make_record`).
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
        self.net = net
        self.ema = WeightEMA(net, ema_decay) if ema_decay else None
        self.optimizer = optimizer
        self.schedule = schedule
        self.mixing = mixing
        self.label_smoothing = label_smoothing
        self.seed = seed
        self.record = record or {}
        self.train_metrics = make_metrics(num_classes)
        self.val_metrics = make_metrics(num_classes)
        self.test_metrics = make_metrics(num_classes)
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        # A function, so that it is not in the state dict.
        self.folded: Callable[[Tensor], Tensor] | None = None
        self.loss: Tensor | None = None  # of the last batch
        self.last_val_metrics: dict[str, float] = {}

    @property
    def eval_net(self) -> nn.Module:
        """The net that is evaluated: the EMA if there is one."""
        return self.ema.module if self.ema else self.net

    def forward(self, images: Tensor) -> Tensor:
        """Evaluate images (N, C, H, W) to logits (N, num_classes)."""
        # Never compiled, so that eval.py gets the same bits.
        predict = self.folded or self.eval_net.forward
        return predict(images.to(self.dtype)).float()

    # Training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer; each group stores its base rate as `initial_lr`."""
        assert self.optimizer is not None
        optimizer = self.optimizer(self.net)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def on_train_start(self) -> None:
        """Let the EMA track the net, now that it is on its device in its number format."""
        if self.ema is not None:
            self.ema.track(self.net)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rates and the seed, which depend only on the position in the run."""
        assert self.schedule is not None
        batches = self.trainer.num_training_batches
        factor = self.schedule(
            self.current_epoch + batch_idx / batches, self.num_epochs(), 1 / batches
        )
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor
        if self.is_logged:
            self.log("lr", self.trainer.optimizers[0].defaults["lr"] * factor)
        # On a CPU, torch.manual_seed spends 0.7 ms on the generators of devices that are absent.
        on_cpu = self.device.type == "cpu"
        set_seed = torch.default_generator.manual_seed if on_cpu else torch.manual_seed
        set_seed(hash_counters(self.seed, self.current_epoch, batch_idx, self.global_rank))

    @property
    def is_logged(self) -> bool:
        """Whether the values of this step are logged; `log` takes 2 ms even if they are not."""
        return is_logging_step(self.trainer)

    def num_epochs(self) -> float:
        """Return the length of the run in epochs, whether max_epochs or max_steps ends it."""
        trainer, lengths = self.trainer, []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            lengths.append(float(trainer.max_epochs))
        if trainer.max_steps > 0:
            batches = trainer.max_steps * trainer.accumulate_grad_batches
            lengths.append(batches / trainer.num_training_batches)
        return min(lengths, default=float("inf"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean cross-entropy of a batch, with mixing and label smoothing."""
        images, targets = batch.images, batch.labels
        if self.mixing:
            images, targets = self.mixing(images, targets)
        logits = self.net(images.to(self.dtype)).float()  # the loss is computed in float32
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        self.loss = loss.detach()
        self.train_metrics.update(preds=logits.detach(), target=labels, value=self.loss)
        if self.is_logged:
            self.log("train/loss_step", loss)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the optimizer, then the EMA."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.global_step + 1)  # Lightning counts this step later

    def on_train_epoch_end(self) -> None:
        """Log the loss and the accuracies of the epoch."""
        self.log_dict(prefix_metrics(self.train_metrics.compute(), "train"))
        self.train_metrics.reset()

    # Evaluation

    def fold(self) -> None:
        """Make `forward` use the present weights, with the norms folded into the convolutions."""
        # Other strategies may split the weights over several devices.
        if isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            self.folded = fold_batchnorm(self.eval_net).forward

    def on_validation_epoch_start(self) -> None:
        """Fold the net for this validation."""
        self.fold()

    def on_test_epoch_start(self) -> None:
        """Fold the net for this test."""
        self.fold()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self.evaluate(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log val/loss, val/top1 and, with more than five classes, val/top5."""
        self.folded = None
        metrics = prefix_metrics(self.val_metrics.compute(), "val")
        self.log_dict(metrics)
        if not self.trainer.sanity_checking:
            self.last_val_metrics = {name: float(value) for name, value in metrics.items()}
        self.val_metrics.reset()

    def test_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Add a batch to the test metrics; return its logits and losses, (N,)."""
        logits, losses = self.evaluate(batch, self.test_metrics)
        self.confusion.update(logits, batch.labels)
        return logits, losses

    def on_test_epoch_end(self) -> None:
        """Log the metrics under the name of the split, and set `confusion_matrix`."""
        self.folded = None
        self.confusion_matrix = self.confusion.compute()  # (true class, predicted class)
        self.confusion.reset()
        split = self.trainer.datamodule.test_split  # type: ignore[attr-defined]
        self.log_dict(prefix_metrics(self.test_metrics.compute(), split))
        self.test_metrics.reset()

    def evaluate(self, batch: Batch, metrics: MetricCollection) -> tuple[Tensor, Tensor]:
        """Return logits (N, num_classes) and cross-entropies (N,), without label smoothing."""
        logits = self(batch.images)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        if len(logits):  # none if all images of the batch were bad
            metrics.update(preds=logits, target=batch.labels, value=losses)
        return logits, losses

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record, and the training metrics of the epoch so far."""
        checkpoint[RECORD_KEY] = {
            **self.record,
            "metrics": self.last_val_metrics,
            "activation_ranges": get_activation_ranges(self.net),
        }
        state = {name: get_metric_state(metric) for name, metric in self.train_metrics.items()}
        checkpoint["train_metrics"] = all_gather_objects(state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the metrics, and the command that started the run."""
        self.record["command"] = checkpoint[RECORD_KEY].get("command")
        self.last_val_metrics = checkpoint[RECORD_KEY]["metrics"]
        set_activation_ranges(self.net, checkpoint[RECORD_KEY].get("activation_ranges", {}))
        states = checkpoint["train_metrics"]
        if len(states) != self.trainer.world_size:  # then a new epoch starts
            return
        for name, state in states[self.global_rank].items():
            restore_metric_state(self.train_metrics[name], state, self.device)


def make_metrics(num_classes: int) -> MetricCollection:
    """Make mean loss, top-1 and, with more than five classes, top-5; accuracies from 0 to 1."""
    metrics: dict[str, Any] = {"loss": MeanMetric(nan_strategy="disable")}
    for k in (1, 5) if num_classes > 5 else (1,):
        metrics[f"top{k}"] = MulticlassAccuracy(
            num_classes, top_k=k, average="micro", validate_args=False
        )
    return MetricCollection(metrics, compute_groups=False)


def prefix_metrics(metrics: dict[str, Tensor], split: str) -> dict[str, Tensor]:
    """Return metrics under their logged names, such as "val/top1"."""
    return {f"{split}/{name}": value for name, value in metrics.items()}
