"""The loops that ours is compared with: `python -m benchmarks.baselines NAME CELL`, CELL in JSON.

Each trains `warmup + steps` steps and validates, or evaluates as many batches, and then prints one
line of JSON. Speed is measured from outside, by `clock/sitecustomize.py`; evaluation, which has no
optimizer, measures itself. Everything is imported where it is used: start-up is a system's own.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.images import CLASSES, SMALL
from benchmarks.systems import TIMM, Comparison, count_macs, device, our_net

NUM_CLASSES = len(CLASSES)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Clocked:
    """A loader that remembers when each batch was asked for and when it was there."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.times: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        with suppress(StopIteration):
            while True:
                asked = time.perf_counter()
                batch = next(batches)
                self.times.append((asked, time.perf_counter()))
                yield batch

    def waiting(self, warmup: int) -> float:
        """The share of time spent on waiting from the batch `warmup` to the last."""
        times = self.times[warmup:]
        return sum(there - asked for asked, there in times[:-1]) / (times[-1][0] - times[0][0])


# Nets and data


def timm_net(comparison: Comparison) -> Any:
    """timm's; the generators behind its names take any width."""
    from timm.models import efficientnet

    generate = getattr(efficientnet, f"_gen_mobilenet_{comparison.net}")
    return with_strides(
        generate(TIMM[comparison.net], comparison.width, num_classes=NUM_CLASSES), comparison
    )


def torchvision_net(comparison: Comparison) -> Any:
    """torchvision's V2; it has no V1."""
    from torchvision.models import mobilenet_v2

    if comparison.net == "v1":
        return timm_net(comparison)
    return with_strides(
        mobilenet_v2(width_mult=comparison.width, num_classes=NUM_CLASSES), comparison
    )


def with_strides(net: Any, comparison: Comparison) -> Any:
    """Of "cifar", the first two strides are 1: what `create_model` does, so that MACs agree."""
    if comparison.strides == "cifar":
        strided = [module for module in net.modules() if getattr(module, "stride", 1) == (2, 2)]
        for convolution in strided[:2]:
            convolution.stride = (1, 1)
    return net


def make_dataset(comparison: Comparison, transform: Any) -> Any:
    """Return its images as PIL gives them: CIFAR's from an array, large ones from ImageFolder."""
    import numpy as np
    from PIL import Image
    from torch.utils.data import Dataset
    from torchvision.datasets import ImageFolder

    if comparison.size != SMALL:
        return ImageFolder(f"{comparison.data}/tree/train", transform)

    class Small(Dataset):
        """As torchvision's CIFAR10, whose checksums the benchmark's images lack."""

        def __init__(self) -> None:
            self.images = np.load(f"{comparison.data}/images.npy")
            self.transform = transform

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(self.images[index])), index % NUM_CLASSES

    return Small()


def torchvision_transform(comparison: Comparison, train: bool) -> Any:
    """What tutorials and torchvision's reference do with small and with large images."""
    from torchvision import transforms

    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    if train and comparison.size == SMALL:
        return transforms.Compose(
            [transforms.RandomCrop(SMALL, padding=4), transforms.RandomHorizontalFlip(), *last]
        )
    if train:
        return transforms.Compose(
            [
                transforms.RandomResizedCrop(comparison.size),
                transforms.RandomHorizontalFlip(),
                *last,
            ]
        )
    resized = transforms.Resize(round(comparison.size / 0.875))
    crop = [] if comparison.size == SMALL else [resized, transforms.CenterCrop(comparison.size)]
    return transforms.Compose([*crop, *last])


# Training


def train_resident(comparison: Comparison) -> dict[str, float]:
    """The same net and step as ours, and nothing else: no data, no logging."""
    import torch
    import torch.nn.functional as F

    from mobilenets.training import Classifier, create_optimizer, tune_process

    tune_process(True, kernels=True)
    net = Classifier(our_net(comparison), NUM_CLASSES).net.to(device())  # with its faster modules
    optimizer = create_optimizer(
        net, "sgd", lr=0.05, weight_decay=5e-4, momentum=0.9, nesterov=True
    )
    images = torch.randn(
        comparison.batch_size, 3, comparison.size, comparison.size, device=device()
    )
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(comparison.batch_size, device=device()) % NUM_CLASSES
    for _ in range(comparison.warmup + comparison.steps):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    return {"waiting": 0.0, "macs": count_macs(net, comparison)}


def train_timm(comparison: Comparison, tuned: bool) -> dict[str, float]:
    """timm's train.py without its flags: its defaults on one device."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, accuracy

    net = timm_net(comparison).to(device())
    layout = torch.channels_last if tuned else torch.contiguous_format
    net = net.to(memory_format=layout)
    optimizer = create_optimizer_v2(net, "sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    smoothed, plain = LabelSmoothingCrossEntropy(0.1), torch.nn.CrossEntropyLoss()

    def loader(train: bool) -> Any:
        if comparison.size == SMALL:
            dataset = make_dataset(comparison, None)
        else:
            dataset = create_dataset(
                "", f"{comparison.data}/tree", split="train", is_training=train
            )
        return create_loader(
            dataset,
            (3, comparison.size, comparison.size),
            comparison.batch_size,
            is_training=train,
            interpolation="random" if train else "bicubic",
            num_workers=(os.cpu_count() or 1) if tuned else 4,
            device=torch.device(device()),
        )

    train, val = Clocked(loader(True)), loader(False)
    losses, top1 = AverageMeter(), AverageMeter()
    net.train()
    for step, (images, labels) in enumerate(train, 1):
        output = net(images.contiguous(memory_format=layout))
        loss = smoothed(output, labels)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(images))
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"Train: {step} Loss: {losses.val:#.3g} ({losses.avg:#.3g})")
        if step == comparison.warmup + comparison.steps:
            break
    net.eval()
    for _, (images, labels) in zip(range(2), val, strict=False):
        with torch.inference_mode():
            output = net(images.contiguous(memory_format=layout))
            losses.update(plain(output, labels).item(), len(images))
            top1.update(accuracy(output, labels)[0].item(), len(images))
    return {"waiting": train.waiting(comparison.warmup), "macs": count_macs(net, comparison)}


def train_lightning(comparison: Comparison, tuned: bool) -> dict[str, float]:
    """The LightningModule of the tutorials, with Lightning's own defaults."""
    import pytorch_lightning as pl
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchmetrics.classification import MulticlassAccuracy

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision_net(comparison)
            if tuned:
                self.net = self.net.to(memory_format=torch.channels_last)
            self.train_top1 = MulticlassAccuracy(NUM_CLASSES, average="micro")
            self.val_top1 = MulticlassAccuracy(NUM_CLASSES, average="micro")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            images, labels = batch
            if tuned:
                images = images.contiguous(memory_format=torch.channels_last)
            logits = self.net(images)
            loss = F.cross_entropy(logits, labels)
            self.train_top1(logits, labels)
            self.log("train_loss", loss, prog_bar=True)
            self.log("train_top1", self.train_top1, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            images, labels = batch
            logits = self.net(images)
            self.val_top1(logits, labels)
            self.log("val_loss", F.cross_entropy(logits, labels))
            self.log("val_top1", self.val_top1)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def loader(train: bool) -> Any:
        return DataLoader(
            make_dataset(comparison, torchvision_transform(comparison, train)),
            batch_size=comparison.batch_size,
            shuffle=train,
            num_workers=2,
            persistent_workers=tuned,
            pin_memory=torch.cuda.is_available(),
        )

    module, train = Module(), Clocked(loader(True))
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=comparison.warmup + comparison.steps,
        limit_val_batches=2,
        devices=1,
    )
    trainer.fit(module, train, loader(False))
    return {"waiting": train.waiting(comparison.warmup), "macs": count_macs(module.net, comparison)}


# Evaluation


def evaluate_eager(comparison: Comparison, resident: bool) -> dict[str, float]:
    """The loop of torchvision's reference: eager, channels first; or with its data for nothing."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    net = our_net(comparison).to(device()).eval()
    count = comparison.warmup + comparison.steps
    if resident:
        images = torch.randn(comparison.batch_size, 3, comparison.size, comparison.size)
        loader = [(images, torch.arange(comparison.batch_size) % NUM_CLASSES)] * count
    else:
        dataset = make_dataset(comparison, torchvision_transform(comparison, train=False))
        loader = DataLoader(dataset, comparison.batch_size, num_workers=2)  # type: ignore[assignment]
    batches = Clocked(loader)
    right = loss = seen = 0.0
    with torch.inference_mode():
        for _, (images, labels) in zip(range(count), batches, strict=False):
            images, labels = images.to(device()), labels.to(device())
            logits = net(images)
            loss += F.cross_entropy(logits, labels).item() * len(images)
            right += (logits.argmax(1) == labels).sum().item()
            seen += len(images)
    end = time.perf_counter()
    print(f"loss {loss / seen:.3f}, top-1 {right / seen:.2%}")
    speed = comparison.steps * comparison.batch_size / (end - batches.times[comparison.warmup][0])
    return {
        "images_per_second": speed,
        "waiting": batches.waiting(comparison.warmup),
        "macs": count_macs(net, comparison),
    }


BASELINES: dict[str, Callable[[Comparison], dict[str, float]]] = {
    "resident": train_resident,
    "timm": lambda comparison: train_timm(comparison, tuned=False),
    "timm-tuned": lambda comparison: train_timm(comparison, tuned=True),
    "lightning": lambda comparison: train_lightning(comparison, tuned=False),
    "lightning-tuned": lambda comparison: train_lightning(comparison, tuned=True),
    "eval-eager": lambda comparison: evaluate_eager(comparison, resident=False),
    "eval-resident": lambda comparison: evaluate_eager(comparison, resident=True),
}


if __name__ == "__main__":
    figures = BASELINES[sys.argv[1]](Comparison(**json.loads(sys.argv[2])))
    print(f"\n{json.dumps(figures)}")
