"""Training: the LightningModule, optimizers, schedules, and what stays frozen."""

from mobilenets.training.callbacks import checkpoints, early_stopping
from mobilenets.training.classifier import Classifier
from mobilenets.training.freezing import Freezing, freezing
from mobilenets.training.optimizer import OPTIMIZERS, create_optimizer
from mobilenets.training.schedule import SCHEDULES, Schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Classifier",
    "Freezing",
    "Schedule",
    "checkpoints",
    "create_optimizer",
    "early_stopping",
    "freezing",
]
