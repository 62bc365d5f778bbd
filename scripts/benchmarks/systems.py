"""The systems that are compared: how each is started, and how its metrics are read."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.images import CLASSES, SMALL

ROOT = Path(__file__).parents[2]
NETS = {"v1": "mobilenet_v1", "v2": "mobilenet_v2"}
TIMM = {"v1": "mobilenetv1_100", "v2": "mobilenetv2_100"}

Metrics = dict[str, float]
"""images_per_second, first_step_seconds, peak_memory_mib, data_wait_share: as in the CSV file."""


@dataclass(frozen=True)
class Comparison:
    """What all systems of one comparison train or evaluate."""

    net: str  # "v1" or "v2"
    width: float
    size: int  # pixels
    strides: str  # "imagenet" or "cifar", as in `create_model`
    batch_size: int
    warmup: int  # steps
    steps: int  # steps that are timed
    data: str = field(repr=False)  # the folder that `images` filled

    def __str__(self) -> str:
        return f"{self.net} {self.width:g} {self.size} {self.strides}"

    @cached_property
    def macs(self) -> int:
        """The multiply-adds for an image, which are those of all systems' nets."""
        import torch

        from mobilenets.models import count_macs

        with torch.device("meta"):
            return count_macs(make_net(self), (3, self.size, self.size))

    @property
    def is_small(self) -> bool:
        """Whether the images are as small as CIFAR's."""
        return self.size == SMALL

    @property
    def total_steps(self) -> int:
        """The steps of a run, warm-up included."""
        return self.warmup + self.steps

    @property
    def tree(self) -> str:
        """The folder with train/CLASS/ and val/CLASS/."""
        return f"{self.data}/tree"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that eval.py reads."""
        name = f"{self.net}_{self.width}_{self.strides}"
        return Path(self.data, "nets", name, "run", "last.ckpt")


class System(NamedTuple):
    """A way to train or to evaluate."""

    name: str
    about: str
    command: Callable[[Comparison], list[str]]  # runs in an empty folder
    read: Callable[[Path, Comparison], Metrics]  # from what the run left there
    tuned: bool = False  # glibc's allocator is set from outside
    supports: Callable[[Comparison], bool] = lambda case: True


# ours: train.py and eval.py, and the metrics that they report


def train_ours(case: Comparison, *overrides: str) -> list[str]:
    """Return the command for one epoch of warm-up and one that counts, each with a validation."""
    options = (
        f"model={NETS[case.net]} model.width_mult={case.width} model.strides={case.strides} "
        f"data.batch_size={case.batch_size} trainer.max_epochs=2 hydra.run.dir=run "
        f"trainer.limit_train_batches={case.steps} trainer.limit_val_batches=2 "
        "trainer.limit_test_batches=2 "
    )
    if case.is_small:
        options += "data=cifar10 data.class_names=null data.verify=false data.download=false"
    else:
        options += f"data=folder data.image_size={case.size}"
    root = f"data.root={case.data if case.is_small else case.tree}"
    return [sys.executable, str(ROOT / "train.py"), *options.split(), root, *overrides]


def read_ours(scratch: Path, case: Comparison) -> Metrics:
    """Return the metrics of the last epoch, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(scratch / "run")).Reload()
    return {
        "images_per_second": events.Scalars("speed/images_per_second")[-1].value,
        "data_wait_share": events.Scalars("speed/data_wait")[-1].value,
    }


def evaluate_ours(case: Comparison) -> list[str]:
    """Return the command for the training split: the largest one, not augmented in evaluation."""
    options = [f"checkpoint={case.checkpoint}", "split=train", "output=metrics.json"]
    return [sys.executable, str(ROOT / "eval.py"), *options]


def read_evaluation(scratch: Path, case: Comparison) -> Metrics:
    """Return the speed in the file that eval.py writes."""
    metrics = json.loads((scratch / "metrics.json").read_text())
    return {"images_per_second": metrics["images_per_second"]}


def make_net(case: Comparison) -> Any:
    """Make our net as train.py does."""
    from mobilenets import create_model

    options = {"width_mult": case.width, "strides": case.strides, "num_classes": len(CLASSES)}
    return create_model(NETS[case.net], **options)


# baselines: loops of `benchmarks.baselines`, each in a process of its own


def make_baseline(name: str, about: str, tuned: bool = False) -> System:
    """Make one of `benchmarks.baselines.BASELINES` a system; it prints its metrics last."""

    def command(case: Comparison) -> list[str]:
        return [sys.executable, "-m", "benchmarks.baselines", name, json.dumps(asdict(case))]

    def read(scratch: Path, case: Comparison) -> Metrics:
        return json.loads((scratch / "output.txt").read_text().splitlines()[-1])

    return System(name, about, command, read, tuned)


_SYSTEMS = (
    System("ours", "python train.py", train_ours, read_ours),
    make_baseline(
        "resident",
        "the limit: our net and step, one batch in memory, channels_last, allocator",
        tuned=True,
    ),
    make_baseline("timm", "timm's net, loader and train step, its defaults"),
    make_baseline(
        "timm-tuned", "the same, channels_last, allocator, a worker per core", tuned=True
    ),
    make_baseline(
        "lightning", "torchvision's V2 or timm's V1, PIL, DataLoader, a plain LightningModule"
    ),
    make_baseline(
        "lightning-tuned", "the same, channels_last, allocator, persistent workers", tuned=True
    ),
    System("eval-ours", "python eval.py", evaluate_ours, read_evaluation),
    make_baseline("eval-eager", "our net, eager, channels first, PIL and DataLoader"),
    make_baseline("eval-resident", "our net, eager, channels first, one batch in memory"),
)
SYSTEMS = {system.name: system for system in _SYSTEMS}
LIMITS = {"train": "resident", "eval": "eval-resident"}  # what speeds are relative to


# baselines' own scripts: timm's train.py, torchvision's references/classification/train.py

_OPTIONS = {
    "timm": "--model {timm} --num-classes 10 --input-size 3 {size} {size} --log-interval 1 ",
    "torchvision": "--model mobilenet_v2 --train-crop-size {size} --val-crop-size {size} "
    "--val-resize-size {size} ",
}
_LOGS = {  # (seconds of a step, of which waiting)
    "timm": r"Time: *([\d.]+)s?.* Data: *([\d.]+)",  # "Time: 0.3s, 94/s (...) Data: 0.01 (0.1)"
    "torchvision": r"Epoch: .* time: *([\d.]+) +data: *([\d.]+)",  # of the last 20 steps
}


def make_script(owner: str, script: Path, tuned: bool) -> System:
    """Make the script of `owner`, "timm" or "torchvision", a system.

    It trains width 1.0 with its own strides only, torchvision's script V2 only.
    """
    is_timm = owner == "timm"

    def command(case: Comparison) -> list[str]:
        options = _OPTIONS[owner].format(timm=TIMM[case.net], **asdict(case))
        options += f"--batch-size {case.batch_size} --epochs 1 --device {find_device()} "
        options += "--channels-last" * (tuned and is_timm)
        data = "--data-dir" if is_timm else "--data-path"
        return [sys.executable, str(script), data, case.tree, *options.split()]

    def read(scratch: Path, case: Comparison) -> Metrics:
        log = "".join((scratch / name).read_text() for name in ("output.txt", "errors.txt"))
        steps = re.findall(_LOGS[owner], log)[case.warmup if is_timm else -1 :]
        seconds, waiting = (sum(float(step[i]) for step in steps) for i in (0, 1))
        return {"data_wait_share": waiting / seconds} if seconds else {}

    def supports(case: Comparison) -> bool:
        return (is_timm or case.net == "v2") and (case.width, case.strides) == (1, "imagenet")

    changes = ", --channels-last" * is_timm + ", allocator" if tuned else ", its defaults"
    name = f"{owner}-script" + "-tuned" * tuned
    return System(name, f"{owner}'s train.py{changes}", command, read, tuned, supports)


def find_device() -> str:
    """Return where baselines train: "cuda" if there is one, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
