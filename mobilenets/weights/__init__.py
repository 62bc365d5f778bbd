"""Reading, converting and writing weights: our own files, and those of every public zoo."""

from mobilenets.weights.checkpoint import RECORD_KEY, Weights, make_record
from mobilenets.weights.load import (
    FREE_OPTIONS,
    Report,
    adapt_preprocessing,
    create_model,
    load_model,
    start_from,
)
from mobilenets.weights.read import read_checkpoint, read_weights
from mobilenets.weights.save import FORMATS, save_model

__all__ = [
    "FORMATS",
    "FREE_OPTIONS",
    "RECORD_KEY",
    "Report",
    "Weights",
    "adapt_preprocessing",
    "create_model",
    "load_model",
    "make_record",
    "read_checkpoint",
    "read_weights",
    "save_model",
    "start_from",
]
