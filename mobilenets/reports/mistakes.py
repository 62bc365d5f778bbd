"""The wrong answers of an evaluation with the largest loss."""

from dataclasses import dataclass

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mobilenets.data import Batch, ImageDataModule


@dataclass(frozen=True)
class Mistake:
    """A wrong answer; `image` (C, H, W) is the input of the net, `loss` the cross-entropy."""

    sample: str
    label: str
    answer: str
    confidence: float
    loss: float
    image: Tensor


class WorstMistakes(Callback):
    """A callback that keeps the `count` wrong answers of a test with the largest loss, in order."""

    def __init__(self, data: ImageDataModule, count: int = 16) -> None:
        self.data = data
        self.count = count
        self.worst: list[Mistake] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with an empty list."""
        self.worst = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: tuple[Tensor, Tensor],  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the wrong answers of a batch, given its logits (N, num_classes) and losses (N,)."""
        logits, losses = outputs
        answers = logits.argmax(dim=1)
        wrong = (answers != batch.labels).nonzero().squeeze(1)
        if len(wrong) == 0:
            return
        worst = wrong[losses[wrong].topk(min(self.count, len(wrong))).indices]
        confidences = logits[worst].softmax(dim=1).amax(dim=1)
        names = self.data.class_names
        for position, confidence in zip(worst.tolist(), confidences.tolist(), strict=True):
            index = int(batch.indices[position])
            self.worst.append(
                Mistake(
                    sample=self.data.sample_name(self.data.test_split, index),
                    label=names[int(batch.labels[position])],
                    answer=names[int(answers[position])],
                    confidence=confidence,
                    loss=float(losses[position]),
                    image=batch.images[position].to("cpu", torch.float32, copy=True),
                )
            )
        self.worst = sorted(self.worst, key=lambda mistake: -mistake.loss)[: self.count]
