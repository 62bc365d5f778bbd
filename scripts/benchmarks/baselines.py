"""The loops that ours is compared with: `python -m benchmarks.baselines NAME COMPARISON`, in JSON.

Each trains `warmup + steps` steps and validates, or evaluates as many batches, and then prints its
metrics as one line of JSON. The speed of training is measured from outside, by `step_clock`;
evaluation has no optimizer and measures itself. Everything is imported where it is used: a system's
start-up counts.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.images import CLASSES, SMALL
from benchmarks.systems import TIMM, Comparison, Metrics, find_device, make_net

NUM_CLASSES = len(CLASSES)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TimedLoader:
    """A loader that records when each batch was asked for and when it came."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.times: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        asked = time.perf_counter()
        for batch in self.loader:
            self.times.append((asked, time.perf_counter()))
            yield batch
            asked = time.perf_counter()

    def waiting(self, warmup: int) -> float:
        """Return the share of time spent waiting, from the batch `warmup` to the last."""
        times = self.times[warmup:]
        return sum(came - asked for asked, came in times[:-1]) / (times[-1][0] - times[0][0])


# Nets and data


def timm_net(case: Comparison) -> Any:
    """Make timm's net; the builders behind its names take any width."""
    from timm.models import efficientnet

    build = getattr(efficientnet, f"_gen_mobilenet_{case.net}")
    return set_strides(build(TIMM[case.net], case.width, num_classes=NUM_CLASSES), case)


def torchvision_net(case: Comparison) -> Any:
    """Make torchvision's V2, or timm's V1, as torchvision has none."""
    from torchvision.models import mobilenet_v2

    if case.net == "v1":
        return timm_net(case)
    return set_strides(mobilenet_v2(width_mult=case.width, num_classes=NUM_CLASSES), case)


def set_strides(net: Any, case: Comparison) -> Any:
    """Set the first two strides to 1 for "cifar", as `create_model` does, so that MACs agree."""
    if case.strides == "cifar":
        strided = [module for module in net.modules() if getattr(module, "stride", 1) == (2, 2)]
        for convolution in strided[:2]:
            convolution.stride = (1, 1)
    return net


def make_dataset(case: Comparison, transform: Any) -> Any:
    """Return PIL images and labels: small ones from an array, large ones from ImageFolder."""
    import numpy as np
    from PIL import Image
    from torch.utils.data import Dataset
    from torchvision.datasets import ImageFolder

    if not case.is_small:
        return ImageFolder(f"{case.tree}/train", transform)

    class Small(Dataset):  # torchvision's CIFAR10 without its checksums
        def __init__(self) -> None:
            self.images = np.load(f"{case.data}/images.npy")
            self.transform = transform  # timm sets its own

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(self.images[index])), index % NUM_CLASSES

    return Small()


def make_transform(case: Comparison, train: bool) -> Any:
    """Return the transform of tutorials for small images, of torchvision's reference for others."""
    from torchvision import transforms as T

    steps: list[Any] = []
    if train:
        small, large = T.RandomCrop(SMALL, padding=4), T.RandomResizedCrop(case.size)
        steps = [small if case.is_small else large, T.RandomHorizontalFlip()]
    elif not case.is_small:
        steps = [T.Resize(round(case.size / 0.875)), T.CenterCrop(case.size)]
    return T.Compose([*steps, T.ToTensor(), T.Normalize(MEAN, STD)])


# Training


def train_resident(case: Comparison) -> Metrics:
    """Train our net with our optimizer on one batch: no data loading, no logging."""
    import torch
    import torch.nn.functional as F

    from mobilenets.training import create_optimizer, tune_process, use_fast_modules

    tune_process(True, kernels=True)
    device = find_device()
    net: Any = use_fast_modules(make_net(case))
    net = net.to(device).to(memory_format=torch.channels_last)
    optimizer = create_optimizer(
        net, "sgd", lr=0.05, weight_decay=5e-4, momentum=0.9, nesterov=True
    )
    images = torch.randn(case.batch_size, 3, case.size, case.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(case.batch_size, device=device) % NUM_CLASSES
    for _ in range(case.total_steps):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    return {"data_wait_share": 0.0}


def train_timm(case: Comparison, tuned: bool) -> Metrics:
    """Train as timm's train.py does without flags: its defaults on one device."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, accuracy

    layout = torch.channels_last if tuned else torch.contiguous_format
    net = timm_net(case).to(find_device()).to(memory_format=layout)
    optimizer = create_optimizer_v2(net, "sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    smoothed, plain = LabelSmoothingCrossEntropy(0.1), torch.nn.CrossEntropyLoss()

    def make_loader(train: bool) -> Any:
        if case.is_small:
            dataset = make_dataset(case, None)
        else:
            dataset = create_dataset("", case.tree, split="train", is_training=train)
        return create_loader(
            dataset,
            (3, case.size, case.size),
            case.batch_size,
            is_training=train,
            interpolation="random" if train else "bicubic",
            num_workers=(os.cpu_count() or 1) if tuned else 4,
            device=torch.device(find_device()),
        )

    train, val = TimedLoader(make_loader(True)), make_loader(False)
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
        if step == case.total_steps:
            break
    net.eval()
    for _, (images, labels) in zip(range(2), val, strict=False):
        with torch.inference_mode():
            output = net(images.contiguous(memory_format=layout))
            losses.update(plain(output, labels).item(), len(images))
            top1.update(accuracy(output, labels)[0].item(), len(images))
    return {"data_wait_share": train.waiting(case.warmup)}


def train_lightning(case: Comparison, tuned: bool) -> Metrics:
    """Train the LightningModule of the tutorials with Lightning's own defaults."""
    import pytorch_lightning as pl
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchmetrics.classification import MulticlassAccuracy

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision_net(case)
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
            self.log_dict({"train_loss": loss, "train_top1": self.train_top1}, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            images, labels = batch
            logits = self.net(images)
            self.val_top1(logits, labels)
            loss = F.cross_entropy(logits, labels)
            self.log_dict({"val_loss": loss, "val_top1": self.val_top1})

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def make_loader(train: bool) -> Any:
        return DataLoader(
            make_dataset(case, make_transform(case, train)),
            batch_size=case.batch_size,
            shuffle=train,
            num_workers=2,
            persistent_workers=tuned,
            pin_memory=torch.cuda.is_available(),
        )

    module, train = Module(), TimedLoader(make_loader(True))
    trainer = pl.Trainer(
        max_epochs=1, limit_train_batches=case.total_steps, limit_val_batches=2, devices=1
    )
    trainer.fit(module, train, make_loader(False))
    return {"data_wait_share": train.waiting(case.warmup)}


# Evaluation


def evaluate_eager(case: Comparison, resident: bool) -> Metrics:
    """Evaluate as torchvision's reference does; `resident` repeats one batch in memory."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader

    device = find_device()
    net = make_net(case).to(device).eval()
    if resident:
        images = torch.randn(case.batch_size, 3, case.size, case.size)
        labels = torch.arange(case.batch_size) % NUM_CLASSES
        batches = TimedLoader([(images, labels)] * case.total_steps)
    else:
        dataset = make_dataset(case, make_transform(case, train=False))
        batches = TimedLoader(DataLoader(dataset, case.batch_size, num_workers=2))
    correct = loss = seen = 0.0
    with torch.inference_mode():
        for _, (images, labels) in zip(range(case.total_steps), batches, strict=False):
            images, labels = images.to(device), labels.to(device)
            logits = net(images)
            loss += F.cross_entropy(logits, labels).item() * len(images)
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(images)
    seconds = time.perf_counter() - batches.times[case.warmup][0]
    print(f"loss {loss / seen:.3f}, top-1 {correct / seen:.2%}")
    speed = case.steps * case.batch_size / seconds
    return {"images_per_second": speed, "data_wait_share": batches.waiting(case.warmup)}


BASELINES: dict[str, Callable[[Comparison], Metrics]] = {
    "resident": train_resident,
    "timm": partial(train_timm, tuned=False),
    "timm-tuned": partial(train_timm, tuned=True),
    "lightning": partial(train_lightning, tuned=False),
    "lightning-tuned": partial(train_lightning, tuned=True),
    "eval-eager": partial(evaluate_eager, resident=False),
    "eval-resident": partial(evaluate_eager, resident=True),
}


if __name__ == "__main__":
    metrics = BASELINES[sys.argv[1]](Comparison(**json.loads(sys.argv[2])))
    print(f"\n{json.dumps(metrics)}")
