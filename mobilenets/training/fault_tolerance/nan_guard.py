"""A loss that is no longer a number ends the run before it spoils the weights."""

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor


class StopOnNonFinite(Callback):
    """Looks at the loss and at every gradient before each step of the optimizer.

    On a CPU a bad step raises before it is made. On a GPU that would make every step wait for the
    device, so there a fused optimizer is told to leave out a bad step, as it is for float16, and
    the figures are looked at one step later, or before the run is saved.
    """

    def __init__(self) -> None:
        self.pending: StepStats | None = None

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: Any,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Looks at this step, or at the one before.

        Raises:
            ValueError: it is not finite.
        """
        self.check()
        grads = {n: p.grad for n, p in pl_module.net.named_parameters() if p.grad is not None}
        if isinstance(trainer.precision_plugin, MixedPrecision) and trainer.precision_plugin.scaler:
            grads = {}  # infinities are the scaler's to deal with
        norms = torch._foreach_norm(list(grads.values())) if grads else []
        values = torch.stack([pl_module.loss.float(), *(norm.float() for norm in norms)])
        lr = optimizer.param_groups[0]["lr"]
        self.pending = StepStats(trainer.global_step, lr, list(grads), values)
        if values.is_cuda and optimizer.defaults.get("fused"):
            optimizer.found_inf = (~values.isfinite().all()).float()  # type: ignore[attr-defined]
        else:
            self.check()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets no run be saved whose last step was bad."""
        self.check()

    def check(self) -> None:
        """Raises ValueError if the step that was looked at is not finite."""
        figures, self.pending = self.pending, None
        if figures is not None and (sentence := figures.diverged()):
            raise ValueError(sentence)


class StepStats:
    """The loss of a step and the norms of its gradients, on their way to the host.

    Args:
        step: how many steps were made before.
        lr: the learning rate.
        names: the parameters that have a gradient.
        values: the loss, and the norm of each of these gradients.
    """

    def __init__(self, step: int, lr: float, names: list[str], values: Tensor) -> None:
        self.step = step
        self.lr = lr
        self.names = names
        self.values = values.to("cpu", non_blocking=values.is_cuda)
        self.copied = torch.cuda.Event() if values.is_cuda else None
        if self.copied is not None:
            self.copied.record()

    def diverged(self) -> str | None:
        """The sentence for a step that is not finite; None if it is."""
        if self.copied is not None:
            self.copied.synchronize()
        if self.values.isfinite().all():
            return None
        loss, *norms = self.values.tolist()
        pairs = zip(self.names, norms, strict=True)
        bad = next((name for name, norm in pairs if not math.isfinite(norm)), None)
        figures = [f"loss {loss:.3g}", f"learning rate {self.lr:.3g}"]
        figures.append(f"gradient norm {math.hypot(*norms):.3g}")
        if bad is not None:
            figures.append(f"the first bad gradient that of {bad}")
        return (
            f"step {self.step + 1} is not finite, and was not made ({', '.join(figures)}): lower "
            "optimizer.lr, warm up longer with schedule.warmup_epochs, or set "
            "trainer.gradient_clip_val=1"
        )
