"""Training: the LightningModule, optimizers, schedules, what stays frozen, and the machine."""

from mobilenets.training.callbacks import checkpoints, early_stopping
from mobilenets.training.classifier import Classifier
from mobilenets.training.freezing import Freezing, freezing
from mobilenets.training.hardware import EvaluateByRule, ReturnMemory, compile_net, tune
from mobilenets.training.optimizer import OPTIMIZERS, create_optimizer
from mobilenets.training.schedule import SCHEDULES, Schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Classifier",
    "EvaluateByRule",
    "Freezing",
    "ReturnMemory",
    "Schedule",
    "checkpoints",
    "compile_net",
    "create_optimizer",
    "early_stopping",
    "freezing",
    "tune",
]
