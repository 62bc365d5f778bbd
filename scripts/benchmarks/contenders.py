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
"""images_per_second, waiting (a share of 1), macs: what a contender itself can tell."""


@dataclass(frozen=True)
class Cell:
    """What all contenders of one comparison train."""

    net: str  # "v1" or "v2"
    width: float
    size: int  # pixels
    strides: str  # "imagenet" or "cifar", as in `create_model`
    batch_size: int
    warmup: int  # steps
    steps: int  # steps on the clock
    data: str = field(repr=False)  # the folder that `images` filled


class Contender(NamedTuple):
    """One way to train or to evaluate."""

    about: str
    command: Callable[[Cell], list[str]]  # run in an empty folder
    read: Callable[[Path, Cell], Figures]  # from what the run left there
    tuned: bool = False  # glibc's allocator is set from outside
    takes: Callable[[Cell], bool] = lambda cell: True


# ours: train.py and eval.py, and their own figures


def train_ours(cell: Cell, *overrides: str) -> list[str]:
    """An epoch to warm up and one to measure, each followed by a validation."""
    options = [
        f"model={NETS[cell.net]}",
        f"model.width_mult={cell.width}",
        f"model.strides={cell.strides}",
        f"data.batch_size={cell.batch_size}",
        "trainer.max_epochs=2",
        f"trainer.limit_train_batches={cell.steps}",
        "trainer.limit_val_batches=2",
        "trainer.limit_test_batches=2",
        "hydra.run.dir=run",
        *overrides,
    ]
    if cell.size == SMALL:
        options += ["data=cifar10", f"data.root={cell.data}", "data.class_names=null"]
        options += ["data.verify=false", "data.download=false"]
    else:
        options += ["data=folder", f"data.root={cell.data}/tree", f"data.image_size={cell.size}"]
    return [sys.executable, str(ROOT / "train.py"), *options]


def read_ours(scratch: Path, cell: Cell) -> Figures:
    """The last epoch's figures, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(scratch / "run")).Reload()
    return {
        "images_per_second": events.Scalars("speed/images_per_second")[-1].value,
        "waiting": events.Scalars("speed/data_wait")[-1].value,
        "macs": count_macs(our_net(cell), cell),
    }


def our_net(cell: Cell) -> Any:
    """Ours, as train.py builds it for the cell."""
    from mobilenets import create_model

    options = {"width_mult": cell.width, "strides": cell.strides, "num_classes": len(CLASSES)}
    return create_model(NETS[cell.net], **options)


def count_macs(net: Any, cell: Cell) -> int:
    """What one image of the cell costs a net, ours or a peer's."""
    from mobilenets.models import count_macs

    return count_macs(net, (3, cell.size, cell.size))


def checkpoint(cell: Cell) -> Path:
    """Where the cell's trained net lies that eval.py reads."""
    return Path(cell.data, "nets", f"{cell.net}_{cell.width}_{cell.strides}", "run", "last.ckpt")


def evaluate_ours(cell: Cell) -> list[str]:
    """The training split, because it is the largest; evaluation does not augment it."""
    options = [f"checkpoint={checkpoint(cell)}", "split=train", "output=figures.json"]
    return [sys.executable, str(ROOT / "eval.py"), *options]


def read_evaluation(scratch: Path, cell: Cell) -> Figures:
    """The speed in the file that eval.py writes."""
    figures = json.loads((scratch / "figures.json").read_text())
    return {
        "images_per_second": figures["images_per_second"],
        "macs": count_macs(our_net(cell), cell),
    }


# peers: loops of `benchmarks.peers` in a process of their own


def peer(name: str) -> Callable[[Cell], list[str]]:
    """The command that runs one of `benchmarks.peers.PEERS`."""

    def command(cell: Cell) -> list[str]:
        return [sys.executable, "-m", "benchmarks.peers", name, json.dumps(asdict(cell))]

    return command


def read_peer(scratch: Path, cell: Cell) -> Figures:
    """The line of JSON that `benchmarks.peers` prints last."""
    return json.loads((scratch / "output.txt").read_text().splitlines()[-1])


CONTENDERS = {
    "ours": Contender("python train.py", train_ours, read_ours),
    "resident": Contender(
        "the limit: our net, optimizer and loss, one batch in memory, channels_last, allocator",
        peer("resident"),
        read_peer,
        tuned=True,
    ),
    "timm": Contender("timm's net, loader and train step, its defaults", peer("timm"), read_peer),
    "timm-tuned": Contender(
        "the same, channels_last, allocator, a worker a core",
        peer("timm-tuned"),
        read_peer,
        tuned=True,
    ),
    "lightning": Contender(
        "torchvision's V2 or timm's V1, PIL and DataLoader, a plain LightningModule",
        peer("lightning"),
        read_peer,
    ),
    "lightning-tuned": Contender(
        "the same, channels_last, allocator, workers kept",
        peer("lightning-tuned"),
        read_peer,
        tuned=True,
    ),
    "eval-ours": Contender("python eval.py", evaluate_ours, read_evaluation),
    "eval-eager": Contender(
        "our net, eager, channels first, PIL and DataLoader", peer("eval-eager"), read_peer
    ),
    "eval-resident": Contender(
        "our net, eager, channels first, one batch in memory", peer("eval-resident"), read_peer
    ),
}
LIMITS = {"train": "resident", "eval": "eval-resident"}  # what speeds are relative to


# peers' own scripts


def timm_script(script: Path, tuned: bool) -> Contender:
    """timm's train.py; of `--model` it takes names alone, so width 1.0 and its own strides."""

    def command(cell: Cell) -> list[str]:
        options = ["--data-dir", f"{cell.data}/tree", "--model", TIMM[cell.net]]
        options += ["--input-size", "3", str(cell.size), str(cell.size), "--num-classes", "10"]
        options += ["--batch-size", str(cell.batch_size), "--epochs", "1", "--device", device()]
        options += ["--log-interval", "1", *(["--channels-last"] if tuned else [])]
        return [sys.executable, str(script), *options]

    def takes(cell: Cell) -> bool:
        return cell.width == 1 and cell.strides == "imagenet"

    about = "timm's train.py" + (", --channels-last, allocator" if tuned else ", its defaults")
    return Contender(about, command, read_timm_log, tuned, takes)


def read_timm_log(scratch: Path, cell: Cell) -> Figures:
    """The share of waiting: "Time: 0.340s, 94.12/s (...) LR: ... Data: 0.012 (0.110)"."""
    text = (scratch / "output.txt").read_text() + (scratch / "errors.txt").read_text()
    return waited(re.findall(r"Time: *([\d.]+)s?.* Data: *([\d.]+)", text)[cell.warmup :])


def torchvision_script(script: Path, tuned: bool) -> Contender:
    """torchvision's references/classification/train.py; it knows V2 alone, at width 1.0."""

    def command(cell: Cell) -> list[str]:
        options = ["--data-path", f"{cell.data}/tree", "--model", "mobilenet_v2"]
        options += ["--batch-size", str(cell.batch_size), "--epochs", "1", "--device", device()]
        for crop in ("--train-crop-size", "--val-crop-size", "--val-resize-size"):
            options += [crop, str(cell.size)]
        return [sys.executable, str(script), *options]

    def takes(cell: Cell) -> bool:
        return cell.net == "v2" and cell.width == 1 and cell.strides == "imagenet"

    about = "torchvision's train.py" + (", allocator" if tuned else ", its defaults")
    return Contender(about, command, read_torchvision_log, tuned, takes)


def read_torchvision_log(scratch: Path, cell: Cell) -> Figures:
    """The share of waiting in its last 20 steps: "... time: 1.9000  data: 0.0200"."""
    text = (scratch / "output.txt").read_text()
    return waited(re.findall(r"Epoch: .* time: *([\d.]+) +data: *([\d.]+)", text)[-1:])


def waited(pairs: list[tuple[str, str]]) -> Figures:
    """Seconds of steps, and of those the seconds of waiting -> the share; {} where none is told."""
    steps, waits = (sum(float(pair[i]) for pair in pairs) for i in (0, 1))
    return {"waiting": waits / steps} if steps else {}


def device() -> str:
    """Where peers train: torch's name of the accelerator, or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
