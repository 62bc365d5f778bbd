"""Training: the LightningModule, optimizers, schedules, what is frozen, saved and the machine."""

from mobilenets.training.callbacks import early_stopping, training_callbacks
from mobilenets.training.classifier import Classifier
from mobilenets.training.fault_tolerance.checkpoint_io import AtomicCheckpointIO
from mobilenets.training.fault_tolerance.checkpoints import Checkpoints
from mobilenets.training.fault_tolerance.distributed import init_torchrun
from mobilenets.training.fault_tolerance.nan_guard import StopOnNonFinite
from mobilenets.training.fault_tolerance.resource_errors import with_hints
from mobilenets.training.freezing import Freezing, freezing
from mobilenets.training.hardware import DeterministicEval, TrimMalloc, compile_net, tune_process
from mobilenets.training.optimizer import OPTIMIZERS, create_optimizer
from mobilenets.training.quantization import fake_quantize, is_fake_quantized
from mobilenets.training.schedule import SCHEDULES, Schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AtomicCheckpointIO",
    "Checkpoints",
    "Classifier",
    "DeterministicEval",
    "Freezing",
    "Schedule",
    "StopOnNonFinite",
    "TrimMalloc",
    "compile_net",
    "create_optimizer",
    "early_stopping",
    "fake_quantize",
    "freezing",
    "init_torchrun",
    "is_fake_quantized",
    "training_callbacks",
    "tune_process",
    "with_hints",
]
