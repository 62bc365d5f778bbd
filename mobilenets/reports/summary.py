"""What a run prints: a header, one line an epoch, the result and the commands to go on with."""

import logging
import shlex
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from mobilenets.atomic import write_json
from mobilenets.console import relative
from mobilenets.data import ImageDataModule
from mobilenets.models import count_macs, count_parameters
from mobilenets.training import Classifier, is_fake_quantized

log = logging.getLogger("mobilenets")


def quiet_lightning() -> None:
    """Silences what Lightning says about itself and what is decided on purpose here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images in memory need none
        ".*when logging on epoch level in distributed setting.*",  # torchmetrics has synchronised
        ".*Checkpoint directory .* exists and is not empty.*",  # the run folder, with its log
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*in eval mode at the start of training.*",  # the averaged net
        ".*ended before the epoch ended and your dataloader is not resumable.*",  # its order is
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)


def header(
    net: torch.nn.Module,
    data: ImageDataModule,
    trainer: Trainer,
    tuned: Sequence[str] = (),
    **place: Any,
) -> str:
    """What meets what, on which device, and where: a few lines.

    Args:
        tuned: what was done to be fast, in words.
        place: name -> path.
    """
    shape = (data.in_channels, data.image_size, data.image_size)
    width: float = net.options["width_mult"]  # type: ignore[index, assignment]
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    rows = {
        "model": f"{net.name}, width {width}: {count_parameters(net):,} parameters, "
        f"{count_macs(net, shape) / 1e6:,.1f} M multiply-adds at {'x'.join(map(str, shape))}",
        "data": f"{data.name}, {data.num_classes} classes: {sizes} images",
        "device": f"{device_name(trainer)}, {trainer.precision}"
        f"{' imitating int8' * is_fake_quantized(net)}, "
        f"batches of {data.batch_size * trainer.world_size * trainer.accumulate_grad_batches}",
        **({"tuned": ", ".join(tuned)} if tuned else {}),
        **{name: relative(Path(path)) for name, path in place.items() if path is not None},
    }
    lines = [f"{name:<8}{text}" for name, text in rows.items()]
    return "\n".join(lines + [f"{'note':<8}{note}" for note in data.notes])


def device_name(trainer: Trainer) -> str:
    """The devices of a run, as a person calls them."""
    device = trainer.strategy.root_device
    if device.type == "cpu":
        name = f"CPU ({torch.get_num_threads()} threads)"
    elif device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.backends.cudnn.benchmark:
            name += " (cuDNN benchmark)"
    else:
        name = str(device)
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


class EpochReport(Callback):
    """Measures the speed of every epoch, logs it, and prints one line.

    speed/images_per_second counts training alone, without validation, on all devices;
    speed/data_wait is the share of that time in which the step waited for its batch.
    """

    def __init__(self) -> None:
        self.images = 0
        self.training = self.waiting = 0.0  # seconds
        self.mark = self.start = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What is measured so far."""
        passed = time.perf_counter() - self.start
        return {"images": self.images, "times": (self.training, self.waiting, passed)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on measuring."""
        self.images = state_dict["images"]
        self.training, self.waiting, passed = state_dict["times"]
        self.start = time.perf_counter() - passed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock where a run goes on in mid-epoch, which does not start that again."""
        self.mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clocks."""
        self.images, self.training, self.waiting = 0, 0.0, 0.0
        self.start = self.mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """What has passed since the last step was spent on getting this batch."""
        now = time.perf_counter()
        self.waiting += now - self.mark
        self.training += now - self.mark
        self.mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the step."""
        now = time.perf_counter()
        self.training += now - self.mark
        self.mark = now
        self.images += len(batch.images) * trainer.world_size

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the time of a validation in mid-epoch off the clock."""
        self.mark = time.perf_counter()

    def on_train_epoch_end(
        self,
        trainer: Trainer,
        pl_module: Classifier,  # type: ignore[override]
    ) -> None:
        """Logs the speed and prints the epoch's line."""
        speed = self.images / self.training
        waiting = self.waiting / self.training
        pl_module.log("speed/images_per_second", speed, rank_zero_only=True)
        pl_module.log("speed/data_wait", waiting, rank_zero_only=True)
        train = pl_module.train_metrics.compute()
        val = {name.removeprefix("val/"): value for name, value in pl_module.figures.items()}
        if not trainer.is_global_zero:
            return
        last = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else "?"
        parts = [
            f"epoch {trainer.current_epoch + 1:>3}/{last}",
            f"train loss {train['loss']:.4f} top-1 {train['top1']:7.2%}",
        ]
        if val:
            parts.append(f"val loss {val['loss']:.4f} top-1 {val['top1']:7.2%}")
        parts.append(f"{speed:,.0f} images/s ({waiting:.0%} waiting for data)")
        parts.append(f"{time.perf_counter() - self.start:.1f} s")
        log.info(" | ".join(parts))


def train_summary(figures: Mapping[str, float], checkpoint: Path) -> str:
    """The last words of a run: the figures, the file, and what to type next."""
    file = shlex.quote(relative(checkpoint))
    rows = {
        "test": format_metrics(figures, "test"),
        "file": file,
        "evaluate it": f"python eval.py checkpoint={file}",
        "see it": f"tensorboard --logdir {shlex.quote(relative(checkpoint.parent))}",
    }
    return "\n".join(f"{name:<13}{text}" for name, text in rows.items())


def eval_summary(figures: Mapping[str, Any], split: str, *written: Path) -> str:
    """The last words of an evaluation: the figures and the files that hold them."""
    lines = [
        f"{split:<8}{format_metrics(figures, split)}, {figures['images_per_second']:,.0f} images/s"
    ]
    return "\n".join(lines + [f"{'file':<8}{relative(path)}" for path in written])


def format_metrics(figures: Mapping[str, float], split: str) -> str:
    """The figures of a split: "accuracy 98.61 %, top-5 ..., loss 0.0512"."""
    words = [f"accuracy {100 * figures[f'{split}/top1']:.2f} %"]
    if f"{split}/top5" in figures:
        words.append(f"top-5 {100 * figures[f'{split}/top5']:.2f} %")
    return ", ".join([*words, f"loss {figures[f'{split}/loss']:.4f}"])


def per_class(confusion: Tensor, class_names: Sequence[str]) -> dict[str, float | None]:
    """Accuracy of each class, a fraction of 1, from counts (true class, predicted class).

    None for a class without images.
    """
    return {
        name: int(row[i]) / int(row.sum()) if row.sum() else None
        for i, (name, row) in enumerate(zip(class_names, confusion, strict=True))
    }


@rank_zero_only
def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON, in the first process alone."""
    write_json(path, metrics)
