"""Training: the LightningModule, the optimizers and the schedules."""

from mobilenets.training.callbacks import checkpoints, early_stopping
from mobilenets.training.classifier import Classifier
from mobilenets.training.optimizer import OPTIMIZERS, create_optimizer
from mobilenets.training.schedule import SCHEDULES, Schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Classifier",
    "Schedule",
    "checkpoints",
    "create_optimizer",
    "early_stopping",
]
