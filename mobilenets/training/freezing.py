"""Fine-tuning with a part of the net frozen: `model.freeze` and `model.unfreeze`."""

import logging
from collections.abc import Sequence
from typing import Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import ParallelStrategy

from mobilenets.models import MobileNet

log = logging.getLogger("mobilenets")

Freeze = Literal["none", "backbone"] | int


class Freezing(Callback):
    """A callback that freezes the first layers of the net, and unfreezes them on schedule.

    Frozen layers get no gradient and stay in evaluation mode, so their BatchNorm uses its running
    statistics and leaves them unchanged. Which layers are frozen depends only on the epoch, so a
    resumed run needs no saved state.

    Args:
        net: the net that will be trained.
        freeze: "none", "backbone" (all but the classifier), or n = the stem and the first n
            blocks; 0 = none.
        unfreeze: rows of (epoch, blocks still frozen from then on); the first epoch is 0.

    Raises:
        ValueError: the net has fewer blocks; in `setup`, layers would unfreeze on several devices.
    """

    def __init__(
        self, net: MobileNet, freeze: Freeze, unfreeze: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.num_blocks = count_blocks(net)
        self.stages = {0: count_frozen_layers(net, freeze)}  # epoch -> frozen layers from then on
        self.stages |= {epoch: count_frozen_layers(net, blocks) for epoch, blocks in unfreeze or ()}

    def num_frozen(self, epoch: int) -> int:
        """Return how many layers of `net.features` are frozen in an epoch."""
        return self.stages[max(start for start in self.stages if start <= epoch)]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze for the whole run, before the optimizer is made and DDP wraps the module.

        The optimizer leaves out what is frozen by then, so layers that unfreeze later are not
        frozen here.
        """
        if stage != "fit":
            return
        if len(self.stages) == 1:
            self.freeze(pl_module, epoch=0)
        elif isinstance(trainer.strategy, ParallelStrategy):
            raise ValueError(
                "model.unfreeze works on one device: strategies such as ddp fix at the start which "
                "gradients they average; set trainer.devices=1 and trainer.strategy=auto"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze when a run resumes in mid-epoch, which does not start that epoch again."""
        self.freeze(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreeze the layers whose epoch has come, and log it."""
        epoch = trainer.current_epoch
        self.freeze(pl_module, epoch)
        if epoch in self.stages and epoch > 0:
            num_trained = self.num_blocks + 1 - self.num_frozen(epoch)
            some = f"{num_trained} of {self.num_blocks} blocks are"
            subject = some if self.num_frozen(epoch) else "all layers are"
            log.info(f"epoch {epoch + 1:>3}: {subject} trained now")

    def freeze(self, pl_module: LightningModule, epoch: int) -> None:
        """Freeze or unfreeze every layer of the net as `epoch` requires."""
        num_frozen = self.num_frozen(epoch)
        for i, layer in enumerate(pl_module.get_submodule("net.features").children()):
            is_trained = i >= num_frozen
            layer.requires_grad_(is_trained).train(is_trained)


def count_frozen_layers(net: MobileNet, freeze: Freeze) -> int:
    """Return how many layers of `net.features` a value of `model.freeze` freezes.

    Raises:
        ValueError: the net has fewer blocks.
    """
    if isinstance(freeze, str):
        return len(net.features) if freeze == "backbone" else 0
    if freeze > count_blocks(net):
        raise ValueError(
            f"{freeze} blocks can't be frozen: this {net.name} has {count_blocks(net)}; "
            "model.freeze=backbone freezes all layers but the classifier"
        )
    return freeze + 1 if freeze else 0  # the stem comes before the blocks


def count_blocks(net: MobileNet) -> int:
    """Return the number of blocks, without the stem and the last 1x1 convolution."""
    return int(net.feature_info[-1]["module"].removeprefix("features."))  # the last block's index
