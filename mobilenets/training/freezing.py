"""Fine-tuning with a part of the net frozen: `model.freeze` and `model.unfreeze`."""

import logging
from collections.abc import Sequence
from typing import Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import ParallelStrategy

from mobilenets.models import MobileNet

log = logging.getLogger("mobilenets")

Frozen = Literal["none", "backbone"] | int


class Freezing(Callback):
    """Keeps the first layers of the net as they are, until they thaw.

    Frozen layers get no gradient and stay in evaluation mode, so that their BatchNorm uses its
    running statistics and keeps them. What is frozen follows from the epoch alone: a resumed run
    needs nothing saved.

    Args:
        net: the net of the module that will be trained.
        freeze: "none", "backbone" (all but the classifier), or n = the stem and the first n
            blocks; 0 = none.
        unfreeze: rows of (epoch, blocks still frozen from then on); the first epoch is 0.

    Raises:
        ValueError: the net has fewer blocks; on setup, that blocks are to thaw on several devices.
    """

    def __init__(
        self, net: MobileNet, freeze: Frozen, unfreeze: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.blocks = count_blocks(net)
        self.stages = {0: frozen_layers(net, freeze)}  # epoch -> frozen layers from then on
        self.stages |= {epoch: frozen_layers(net, blocks) for epoch, blocks in unfreeze or ()}

    def frozen(self, epoch: int) -> int:
        """How many layers of `net.features` are frozen in an epoch."""
        return self.stages[max(start for start in self.stages if start <= epoch)]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freezes for the whole run, before the optimizer is made and ddp wraps the module.

        An optimizer leaves out what is frozen by then, so layers that thaw are frozen later.
        """
        if stage != "fit":
            return
        if len(self.stages) == 1:
            self.freeze(pl_module, epoch=0)
        elif isinstance(trainer.strategy, ParallelStrategy):
            raise ValueError(
                "model.unfreeze works on one device: ddp and its like settle at the start whose "
                "gradients they average; set trainer.devices=1 and trainer.strategy=auto"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes where a run goes on in mid-epoch, which does not start that epoch again."""
        self.freeze(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Thaws what is due, and says so."""
        epoch = trainer.current_epoch
        self.freeze(pl_module, epoch)
        if epoch in self.stages and epoch > 0:
            trained = f"{self.blocks + 1 - self.frozen(epoch)} of {self.blocks} blocks are"
            log.info(
                f"epoch {epoch + 1:>3}: {trained if self.frozen(epoch) else 'all layers are'} "
                "trained now"
            )

    def freeze(self, pl_module: LightningModule, epoch: int) -> None:
        """Puts every layer of the net into the state that it has in an epoch."""
        for i, layer in enumerate(pl_module.get_submodule("net.features").children()):
            trained = i >= self.frozen(epoch)
            layer.requires_grad_(trained).train(trained)


def freezing(
    net: MobileNet, freeze: Frozen, unfreeze: Sequence[Sequence[int]] | None
) -> list[Callback]:
    """`Freezing`, where anything is to be frozen."""
    return [] if freeze in ("none", 0) else [Freezing(net, freeze, unfreeze)]


def frozen_layers(net: MobileNet, freeze: Frozen) -> int:
    """How many layers of `net.features` a value of `model.freeze` means, the stem's included."""
    if isinstance(freeze, str):
        return len(net.features) if freeze == "backbone" else 0
    if freeze > count_blocks(net):
        raise ValueError(
            f"{freeze} blocks can't be frozen: this {net.name} has {count_blocks(net)}; "
            "model.freeze=backbone freezes all layers but the classifier"
        )
    return freeze + 1 if freeze else 0


def count_blocks(net: MobileNet) -> int:
    """The blocks between the stem and, where there is one, the last 1x1 convolution."""
    return int(net.feature_info[-1]["module"].removeprefix("features."))  # the last block's map
