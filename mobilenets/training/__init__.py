"""Training: the LightningModule, optimizers, schedules, freezing, quantization, checkpoints."""

from mobilenets.training.callbacks import training_callbacks
from mobilenets.training.classifier import Classifier
from mobilenets.training.fault_tolerance.checkpoint_io import AtomicCheckpointIO
from mobilenets.training.fault_tolerance.checkpoints import Checkpoints
from mobilenets.training.fault_tolerance.distributed import init_torchrun
from mobilenets.training.fault_tolerance.nan_guard import StopOnNonFinite
from mobilenets.training.fault_tolerance.resource_errors import with_hints
from mobilenets.training.freezing import Freezing
from mobilenets.training.hardware import DeterministicEval, TrimMalloc, compile_net, tune_process
from mobilenets.training.kernels import use_fast_modules
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
    "fake_quantize",
    "init_torchrun",
    "is_fake_quantized",
    "training_callbacks",
    "tune_process",
    "use_fast_modules",
    "with_hints",
]
