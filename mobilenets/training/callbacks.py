"""The callbacks that steer a run, apart from its checkpoints."""

from collections.abc import Sequence

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping

from mobilenets.models import MobileNet
from mobilenets.training.fault_tolerance.checkpoints import MONITOR
from mobilenets.training.fault_tolerance.nan_guard import StopOnNonFinite
from mobilenets.training.freezing import Freeze, Freezing
from mobilenets.training.hardware import DeterministicEval, TrimMalloc


def training_callbacks(
    net: MobileNet,
    freeze: Freeze,
    unfreeze: Sequence[Sequence[int]] | None,
    patience: int | None,
) -> list[Callback]:
    """Return the callbacks that freeze layers, stop early, and guard every run.

    Args:
        net: the net to train.
        freeze: as for `Freezing`, and so is `unfreeze`.
        patience: stop after this many validations without a better val/top1; None = never.
    """
    callbacks: list[Callback] = [DeterministicEval(), TrimMalloc(), StopOnNonFinite()]
    if freeze not in ("none", 0):
        callbacks.append(Freezing(net, freeze, unfreeze))
    if patience is not None:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=patience))
    return callbacks
