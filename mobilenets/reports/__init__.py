"""Reports of a run: printed lines, TensorBoard pages, figures, metrics.json."""

from typing import Any

from pytorch_lightning import Callback

from mobilenets.data import ImageDataModule
from mobilenets.reports.epoch_report import EpochReport
from mobilenets.reports.figures import draw_confusion_matrix, draw_mistakes, make_image_grid
from mobilenets.reports.mistakes import Mistake, WorstMistakes
from mobilenets.reports.skipped import SkippedImages
from mobilenets.reports.summary import (
    compute_class_accuracies,
    eval_summary,
    format_header,
    quiet_lightning,
    train_summary,
    write_metrics,
)
from mobilenets.reports.tensorboard import RunLogger, TensorBoardReport

__all__ = [
    "EpochReport",
    "Mistake",
    "RunLogger",
    "SkippedImages",
    "TensorBoardReport",
    "WorstMistakes",
    "compute_class_accuracies",
    "draw_confusion_matrix",
    "draw_mistakes",
    "eval_summary",
    "format_header",
    "make_image_grid",
    "quiet_lightning",
    "report_callbacks",
    "train_summary",
    "write_metrics",
]


def report_callbacks(data: ImageDataModule, config: dict[str, Any]) -> list[Callback]:
    """Return the callbacks that report on a run: lines, skipped images, mistakes, TensorBoard."""
    mistakes = WorstMistakes(data)
    return [EpochReport(), SkippedImages(), mistakes, TensorBoardReport(data, mistakes, config)]
