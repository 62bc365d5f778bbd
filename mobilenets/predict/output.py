"""Predictions as lines: a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable

from mobilenets.predict.predictor import Prediction

MOST = 60  # columns of a table that paths are aligned to at most


def make_formatter(
    format: str, topk: int, names: Iterable[str]
) -> tuple[str, Callable[[Prediction], str]]:
    """The line above all others, "" for none, and what makes a line of a prediction.

    Args:
        format: "table", "csv" or "jsonl".
        topk: classes in a line.
        names: of the pictures, as far as they are known.
    """
    if format == "csv":
        columns = [f"{what}_{i + 1}" for i in range(topk) for what in ("class", "probability")]
        return _csv(["path", *columns]), lambda prediction: as_csv(prediction, topk)
    if format == "jsonl":
        return "", lambda prediction: as_json(prediction, topk)
    width = max((len(name) for name in names if len(name) <= MOST), default=0)
    return "", lambda prediction: as_table(prediction, topk, width)


def as_table(prediction: Prediction, topk: int, width: int) -> str:
    """path  class 93.1%, class 4.0%, ..."""
    top = ", ".join(f"{name} {probability:.1%}" for name, probability in prediction.top(topk))
    return f"{prediction.name:<{width}}  {top}"


def as_csv(prediction: Prediction, topk: int) -> str:
    """path,class,probability,class,probability,..."""
    cells: list[object] = [prediction.name]
    for name, probability in prediction.top(topk):
        cells += [name, f"{probability:.6f}"]
    return _csv(cells)


def as_json(prediction: Prediction, topk: int) -> str:
    """{"path": ..., "predictions": [{"class": ..., "probability": ...}, ...]}"""
    top = [
        {"class": name, "probability": round(probability, 6)}
        for name, probability in prediction.top(topk)
    ]
    return json.dumps({"path": prediction.name, "predictions": top}, ensure_ascii=False)


def _csv(cells: list) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
