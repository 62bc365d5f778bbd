"""What watches over a training besides its checkpoints."""

from collections.abc import Sequence

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping

from mobilenets.models import MobileNet
from mobilenets.training.fault_tolerance.checkpoints import MONITOR
from mobilenets.training.fault_tolerance.nan_guard import StopOnNonFinite
from mobilenets.training.freezing import Frozen, freezing
from mobilenets.training.hardware import DeterministicEval, TrimMalloc


def training_callbacks(
    net: MobileNet,
    freeze: Frozen,
    unfreeze: Sequence[Sequence[int]] | None,
    patience: int | None,
) -> list[Callback]:
    """All that steers a run: what of `net` is frozen, when it ends early, what it never does."""
    rules = [DeterministicEval(), TrimMalloc(), StopOnNonFinite()]
    return [*rules, *freezing(net, freeze, unfreeze), *early_stopping(patience)]


def early_stopping(patience: int | None) -> list[Callback]:
    """Ends the run after `patience` validations without a better val/top1; None never does."""
    return [] if patience is None else [EarlyStopping(MONITOR, mode="max", patience=patience)]
