"""What a person looks at: the lines of a run, TensorBoard's pages, pictures and figures."""

from typing import Any

from pytorch_lightning import Callback

from mobilenets.data import ImageDataModule
from mobilenets.reports.figures import confusion_figure, image_grid, mistakes_figure
from mobilenets.reports.mistakes import Mistake, WorstMistakes
from mobilenets.reports.skipped import SkippedImages
from mobilenets.reports.summary import (
    EpochReport,
    eval_summary,
    header,
    per_class,
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
    "confusion_figure",
    "eval_summary",
    "header",
    "image_grid",
    "mistakes_figure",
    "per_class",
    "quiet_lightning",
    "report_callbacks",
    "train_summary",
    "write_metrics",
]


def report_callbacks(data: ImageDataModule, config: dict[str, Any]) -> list[Callback]:
    """All that watches a run: its lines, bad images, worst mistakes, its pages in TensorBoard."""
    mistakes = WorstMistakes(data)
    return [EpochReport(), SkippedImages(), mistakes, TensorBoardReport(data, mistakes, config)]
