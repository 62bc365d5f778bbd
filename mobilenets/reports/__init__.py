"""What a person looks at: the lines of a run, TensorBoard's pages, pictures and figures."""

from typing import Any

from pytorch_lightning import Callback

from mobilenets.data import ImageDataModule
from mobilenets.reports.console import (
    EpochReport,
    evaluation,
    header,
    per_class,
    quiet_lightning,
    relative,
    result,
    write_json,
)
from mobilenets.reports.figures import confusion_figure, image_grid, mistakes_figure
from mobilenets.reports.mistakes import Mistake, WorstMistakes
from mobilenets.reports.skipped import SkippedImages
from mobilenets.reports.tensorboard import RunLogger, TensorBoardReport

__all__ = [
    "EpochReport",
    "Mistake",
    "RunLogger",
    "SkippedImages",
    "TensorBoardReport",
    "WorstMistakes",
    "callbacks",
    "confusion_figure",
    "evaluation",
    "header",
    "image_grid",
    "mistakes_figure",
    "per_class",
    "quiet_lightning",
    "relative",
    "result",
    "write_json",
]


def callbacks(data: ImageDataModule, config: dict[str, Any]) -> list[Callback]:
    """All that watches a run: its lines, bad images, worst mistakes, its pages in TensorBoard."""
    mistakes = WorstMistakes(data)
    return [EpochReport(), SkippedImages(), mistakes, TensorBoardReport(data, mistakes, config)]
