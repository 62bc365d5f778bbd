"""Who takes part: what each is started with, and how its figures are read."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.images import CLASSES, SMALL

ROOT = Path(__file__).parents[2]
NETS = {"v1": "mobilenet_v1", "v2": "mobilenet_v2"}
TIMM = {"v1": "mobilenetv1_100", "v2": "mobilenetv2_100"}

Figures = dict[str, float]
"""images_per_second, waiting (a share of 1), macs: what a system itself can tell."""


@dataclass(frozen=True)
class Comparison:
    """What all systems of one comparison train."""

    net: str  # "v1" or "v2"
    width: float
    size: int  # pixels
    strides: str  # "imagenet" or "cifar", as in `create_model`
    batch_size: int
    warmup: int  # steps
    steps: int  # steps on the clock
    data: str = field(repr=False)  # the folder that `images` filled


class System(NamedTuple):
    """One way to train or to evaluate."""

    about: str
    command: Callable[[Comparison], list[str]]  # run in an empty folder
    read: Callable[[Path, Comparison], Figures]  # from what the run left there
    tuned: bool = False  # glibc's allocator is set from outside
    takes: Callable[[Comparison], bool] = lambda comparison: True


# ours: train.py and eval.py, and their own figures


def train_ours(comparison: Comparison, *overrides: str) -> list[str]:
    """An epoch to warm up and one to measure, each followed by a validation."""
    options = [
        f"model={NETS[comparison.net]}",
        f"model.width_mult={comparison.width}",
        f"model.strides={comparison.strides}",
        f"data.batch_size={comparison.batch_size}",
        "trainer.max_epochs=2",
        f"trainer.limit_train_batches={comparison.steps}",
        "trainer.limit_val_batches=2",
        "trainer.limit_test_batches=2",
        "hydra.run.dir=run",
        *overrides,
    ]
    if comparison.size == SMALL:
        options += ["data=cifar10", f"data.root={comparison.data}", "data.class_names=null"]
        options += ["data.verify=false", "data.download=false"]
    else:
        options += [
            "data=folder",
            f"data.root={comparison.data}/tree",
            f"data.image_size={comparison.size}",
        ]
    return [sys.executable, str(ROOT / "train.py"), *options]


def read_ours(scratch: Path, comparison: Comparison) -> Figures:
    """The last epoch's figures, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(scratch / "run")).Reload()
    return {
        "images_per_second": events.Scalars("speed/images_per_second")[-1].value,
        "waiting": events.Scalars("speed/data_wait")[-1].value,
        "macs": count_macs(our_net(comparison), comparison),
    }


def our_net(comparison: Comparison) -> Any:
    """Ours, as train.py builds it for the comparison."""
    from mobilenets import create_model

    options = {
        "width_mult": comparison.width,
        "strides": comparison.strides,
        "num_classes": len(CLASSES),
    }
    return create_model(NETS[comparison.net], **options)


def count_macs(net: Any, comparison: Comparison) -> int:
    """What one image of the comparison costs a net, ours or a baseline's."""
    from mobilenets.models import count_macs

    return count_macs(net, (3, comparison.size, comparison.size))


def checkpoint(comparison: Comparison) -> Path:
    """Where the comparison's trained net lies that eval.py reads."""
    return Path(
        comparison.data,
        "nets",
        f"{comparison.net}_{comparison.width}_{comparison.strides}",
        "run",
        "last.ckpt",
    )


def evaluate_ours(comparison: Comparison) -> list[str]:
    """The training split, because it is the largest; evaluation does not augment it."""
    options = [f"checkpoint={checkpoint(comparison)}", "split=train", "output=figures.json"]
    return [sys.executable, str(ROOT / "eval.py"), *options]


def read_evaluation(scratch: Path, comparison: Comparison) -> Figures:
    """The speed in the file that eval.py writes."""
    figures = json.loads((scratch / "figures.json").read_text())
    return {
        "images_per_second": figures["images_per_second"],
        "macs": count_macs(our_net(comparison), comparison),
    }


# baselines: loops of `benchmarks.baselines` in a process of their own


def baseline(name: str) -> Callable[[Comparison], list[str]]:
    """The command that runs one of `benchmarks.baselines.BASELINES`."""

    def command(comparison: Comparison) -> list[str]:
        return [sys.executable, "-m", "benchmarks.baselines", name, json.dumps(asdict(comparison))]

    return command


def read_baseline(scratch: Path, comparison: Comparison) -> Figures:
    """The line of JSON that `benchmarks.baselines` prints last."""
    return json.loads((scratch / "output.txt").read_text().splitlines()[-1])


SYSTEMS = {
    "ours": System("python train.py", train_ours, read_ours),
    "resident": System(
        "the limit: our net, optimizer and loss, one batch in memory, channels_last, allocator",
        baseline("resident"),
        read_baseline,
        tuned=True,
    ),
    "timm": System(
        "timm's net, loader and train step, its defaults", baseline("timm"), read_baseline
    ),
    "timm-tuned": System(
        "the same, channels_last, allocator, a worker a core",
        baseline("timm-tuned"),
        read_baseline,
        tuned=True,
    ),
    "lightning": System(
        "torchvision's V2 or timm's V1, PIL and DataLoader, a plain LightningModule",
        baseline("lightning"),
        read_baseline,
    ),
    "lightning-tuned": System(
        "the same, channels_last, allocator, workers kept",
        baseline("lightning-tuned"),
        read_baseline,
        tuned=True,
    ),
    "eval-ours": System("python eval.py", evaluate_ours, read_evaluation),
    "eval-eager": System(
        "our net, eager, channels first, PIL and DataLoader", baseline("eval-eager"), read_baseline
    ),
    "eval-resident": System(
        "our net, eager, channels first, one batch in memory",
        baseline("eval-resident"),
        read_baseline,
    ),
}
LIMITS = {"train": "resident", "eval": "eval-resident"}  # what speeds are relative to


# baselines' own scripts


def timm_script(script: Path, tuned: bool) -> System:
    """timm's train.py; of `--model` it takes names alone, so width 1.0 and its own strides."""

    def command(comparison: Comparison) -> list[str]:
        options = ["--data-dir", f"{comparison.data}/tree", "--model", TIMM[comparison.net]]
        options += [
            "--input-size",
            "3",
            str(comparison.size),
            str(comparison.size),
            "--num-classes",
            "10",
        ]
        options += [
            "--batch-size",
            str(comparison.batch_size),
            "--epochs",
            "1",
            "--device",
            device(),
        ]
        options += ["--log-interval", "1", *(["--channels-last"] if tuned else [])]
        return [sys.executable, str(script), *options]

    def takes(comparison: Comparison) -> bool:
        return comparison.width == 1 and comparison.strides == "imagenet"

    about = "timm's train.py" + (", --channels-last, allocator" if tuned else ", its defaults")
    return System(about, command, read_timm_log, tuned, takes)


def read_timm_log(scratch: Path, comparison: Comparison) -> Figures:
    """The share of waiting: "Time: 0.340s, 94.12/s (...) LR: ... Data: 0.012 (0.110)"."""
    text = (scratch / "output.txt").read_text() + (scratch / "errors.txt").read_text()
    return waited(re.findall(r"Time: *([\d.]+)s?.* Data: *([\d.]+)", text)[comparison.warmup :])


def torchvision_script(script: Path, tuned: bool) -> System:
    """torchvision's references/classification/train.py; it knows V2 alone, at width 1.0."""

    def command(comparison: Comparison) -> list[str]:
        options = ["--data-path", f"{comparison.data}/tree", "--model", "mobilenet_v2"]
        options += [
            "--batch-size",
            str(comparison.batch_size),
            "--epochs",
            "1",
            "--device",
            device(),
        ]
        for crop in ("--train-crop-size", "--val-crop-size", "--val-resize-size"):
            options += [crop, str(comparison.size)]
        return [sys.executable, str(script), *options]

    def takes(comparison: Comparison) -> bool:
        return comparison.net == "v2" and comparison.width == 1 and comparison.strides == "imagenet"

    about = "torchvision's train.py" + (", allocator" if tuned else ", its defaults")
    return System(about, command, read_torchvision_log, tuned, takes)


def read_torchvision_log(scratch: Path, comparison: Comparison) -> Figures:
    """The share of waiting in its last 20 steps: "... time: 1.9000  data: 0.0200"."""
    text = (scratch / "output.txt").read_text()
    return waited(re.findall(r"Epoch: .* time: *([\d.]+) +data: *([\d.]+)", text)[-1:])


def waited(pairs: list[tuple[str, str]]) -> Figures:
    """Seconds of steps, and of those the seconds of waiting -> the share; {} where none is told."""
    steps, waits = (sum(float(pair[i]) for pair in pairs) for i in (0, 1))
    return {"waiting": waits / steps} if steps else {}


def device() -> str:
    """Where baselines train: torch's name of the accelerator, or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
