"""Reading weights: our own checkpoints, and state dicts to start from."""

from mobilenets.weights.checkpoint import (
    RECORD_KEY,
    Checkpoint,
    load_model,
    make_record,
    read_checkpoint,
)
from mobilenets.weights.start import start_from

__all__ = [
    "RECORD_KEY",
    "Checkpoint",
    "load_model",
    "make_record",
    "read_checkpoint",
    "start_from",
]
