"""Training: the LightningModule, optimizers, schedules, what is frozen, saved and the machine."""

from mobilenets.training.callbacks import callbacks, early_stopping
from mobilenets.training.checkpoints import Checkpoints
from mobilenets.training.classifier import Classifier
from mobilenets.training.failures import explained
from mobilenets.training.files import AtomicCheckpointIO
from mobilenets.training.finite import FiniteLoss
from mobilenets.training.freezing import Freezing, freezing
from mobilenets.training.hardware import EvaluateByRule, ReturnMemory, compile_net, tune
from mobilenets.training.optimizer import OPTIMIZERS, create_optimizer
from mobilenets.training.processes import join_processes
from mobilenets.training.quantization import fake_quantize, is_fake_quantized
from mobilenets.training.schedule import SCHEDULES, Schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "AtomicCheckpointIO",
    "Checkpoints",
    "Classifier",
    "EvaluateByRule",
    "FiniteLoss",
    "Freezing",
    "ReturnMemory",
    "Schedule",
    "callbacks",
    "compile_net",
    "create_optimizer",
    "early_stopping",
    "explained",
    "fake_quantize",
    "freezing",
    "is_fake_quantized",
    "join_processes",
    "tune",
]
