"""Weights: load and save our own files, and those of every public zoo."""

from mobilenets.weights.differences import FREE_OPTIONS
from mobilenets.weights.load import (
    adapt_preprocessing,
    create_model,
    load_checkpoint,
    load_model,
    load_weights,
    start_from,
)
from mobilenets.weights.record import RECORD_KEY, Weights, make_record
from mobilenets.weights.report import Report
from mobilenets.weights.save import FORMATS, save_model

__all__ = [
    "FORMATS",
    "FREE_OPTIONS",
    "RECORD_KEY",
    "Report",
    "Weights",
    "adapt_preprocessing",
    "create_model",
    "load_checkpoint",
    "load_model",
    "load_weights",
    "make_record",
    "save_model",
    "start_from",
]
