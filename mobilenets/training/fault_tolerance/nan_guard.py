"""A guard that ends the run at a non-finite loss or gradient, before it reaches the weights."""

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor


class StopOnNonFinite(Callback):
    """A callback that checks the loss and every gradient before each optimizer step.

    On a CPU, a non-finite step raises before it is taken. On a GPU, checking at once would make
    every step wait for the device. There a fused optimizer is told to skip a non-finite step, as it
    is for float16, and the check follows one step later, or before the run is saved.
    """

    def __init__(self) -> None:
        self.pending: StepStats | None = None

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: Any,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Check this step on a CPU, or the previous one on a GPU.

        Raises:
            ValueError: it is not finite.
        """
        self.check()
        grads = {n: p.grad for n, p in pl_module.net.named_parameters() if p.grad is not None}
        if isinstance(trainer.precision_plugin, MixedPrecision) and trainer.precision_plugin.scaler:
            grads = {}  # the scaler deals with infinite gradients itself
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
        """Refuse to save a run whose last step was not finite."""
        self.check()

    def check(self) -> None:
        """Raise ValueError if the pending step is not finite."""
        stats, self.pending = self.pending, None
        if stats is not None and (problem := stats.describe_problem()):
            raise ValueError(problem)


class StepStats:
    """The loss of a step and the norms of its gradients, on their way to the host.

    Args:
        step: the number of steps taken before.
        lr: the learning rate.
        names: the parameters that have a gradient.
        values: the loss, followed by the norm of each of these gradients.
    """

    def __init__(self, step: int, lr: float, names: list[str], values: Tensor) -> None:
        self.step = step
        self.lr = lr
        self.names = names
        self.values = values.to("cpu", non_blocking=values.is_cuda)
        self.copied = torch.cuda.Event() if values.is_cuda else None
        if self.copied is not None:
            self.copied.record()

    def describe_problem(self) -> str | None:
        """Return one sentence about a step that is not finite, None if it is finite."""
        if self.copied is not None:
            self.copied.synchronize()
        if self.values.isfinite().all():
            return None
        loss, *norms = self.values.tolist()
        pairs = zip(self.names, norms, strict=True)
        bad = next((name for name, norm in pairs if not math.isfinite(norm)), None)
        stats = [f"loss {loss:.3g}", f"learning rate {self.lr:.3g}"]
        stats.append(f"gradient norm {math.hypot(*norms):.3g}")
        if bad is not None:
            stats.append(f"first non-finite gradient in {bad}")
        return (
            f"step {self.step + 1} is not finite and was not taken ({', '.join(stats)}): lower "
            "optimizer.lr, warm up longer with schedule.warmup_epochs, or set "
            "trainer.gradient_clip_val=1"
        )
