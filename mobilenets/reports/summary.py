"""What a run prints at its start and at its end."""

import logging
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from mobilenets.atomic import write_json
from mobilenets.console import label_lines, relative
from mobilenets.data import ImageDataModule
from mobilenets.models import count_macs, count_parameters
from mobilenets.training import is_fake_quantized


def quiet_lightning() -> None:
    """Silence Lightning's banner, and its warnings about what is done here on purpose."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images in memory need none
        ".*when logging on epoch level in distributed setting.*",  # torchmetrics synchronises
        ".*Checkpoint directory .* exists and is not empty.*",  # the run folder has a log already
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*in eval mode at the start of training.*",  # the EMA
        ".*ended before the epoch ended and your dataloader is not resumable.*",  # its order is
        ".*Grad strides do not match bucket view strides.*",  # of 1x1 kernels both are right
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)


def format_header(
    net: torch.nn.Module,
    data: ImageDataModule,
    trainer: Trainer,
    tuned: Sequence[str] = (),
    **paths: Any,
) -> str:
    """Return a few lines about the model, the data, the device and the paths of a run.

    Args:
        net: a `MobileNet`.
        data: the data, set up.
        trainer: the trainer, which knows the devices.
        tuned: what was done for speed (`tune_process`).
        paths: label -> path; None leaves the line out.
    """
    shape = (data.in_channels, data.image_size, data.image_size)
    width: float = net.options["width_mult"]  # type: ignore[index, assignment]
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    rows = {
        "model": f"{net.name}, width {width}: {count_parameters(net):,} parameters, "
        f"{count_macs(net, shape) / 1e6:,.1f} M multiply-adds at {'x'.join(map(str, shape))}",
        "data": f"{data.name}, {data.num_classes} classes: {sizes} images",
        "device": f"{describe_device(trainer)}, {trainer.precision}"
        f"{' imitating int8' * is_fake_quantized(net)}, "
        f"batches of {data.batch_size * trainer.world_size * trainer.accumulate_grad_batches}",
        **({"tuned": ", ".join(tuned)} if tuned else {}),
        **{label: relative(Path(path)) for label, path in paths.items() if path is not None},
    }
    lines = [label_lines(label, text) for label, text in rows.items()]
    return "\n".join(lines + [label_lines("note", note) for note in data.notes])


def describe_device(trainer: Trainer) -> str:
    """Return the number and the name of the devices of a run."""
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


def train_summary(
    metrics: Mapping[str, float], checkpoint: Path, evaluate: str = "python eval.py"
) -> str:
    """Return the last lines of a run: metrics, checkpoint, and the commands to type next.

    Args:
        evaluate: how the command that evaluates is called from here.
    """
    file = shlex.quote(relative(checkpoint))
    rows = {
        "test": format_metrics(metrics, "test"),
        "file": file,
        "evaluate it": f"{evaluate} checkpoint={file}",
        "see it": f"tensorboard --logdir {shlex.quote(relative(checkpoint.parent))}",
    }
    return "\n".join(label_lines(label, text, width=13) for label, text in rows.items())


def eval_summary(metrics: Mapping[str, Any], split: str, *files: Path) -> str:
    """Return the last lines of an evaluation: metrics, speed, and the files written."""
    speed = f"{metrics['images_per_second']:,.0f} images/s"
    first = label_lines(split, f"{format_metrics(metrics, split)}, {speed}")
    return "\n".join([first, *(label_lines("file", relative(path)) for path in files)])


def format_metrics(metrics: Mapping[str, float], split: str) -> str:
    """Return the metrics of a split, such as "accuracy 98.61 %, top-5 99.95 %, loss 0.0512"."""
    parts = [f"accuracy {100 * metrics[f'{split}/top1']:.2f} %"]
    if f"{split}/top5" in metrics:
        parts.append(f"top-5 {100 * metrics[f'{split}/top5']:.2f} %")
    return ", ".join([*parts, f"loss {metrics[f'{split}/loss']:.4f}"])


def compute_class_accuracies(
    confusion: Tensor, class_names: Sequence[str]
) -> dict[str, float | None]:
    """Return the accuracy of each class, from 0 to 1, from counts (true class, predicted class).

    None for a class without images.
    """
    return {
        name: int(row[i]) / int(row.sum()) if row.sum() else None
        for i, (name, row) in enumerate(zip(class_names, confusion, strict=True))
    }


@rank_zero_only
def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as JSON, on rank 0 only."""
    write_json(path, metrics)
