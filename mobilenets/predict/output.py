"""Predictions as lines: a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable

from mobilenets.predict.predictor import Prediction

NAME = 48  # columns of a table that a path gets at least


def as_table(prediction: Prediction, topk: int) -> str:
    """path  class 93.1%, class 4.0%, ..."""
    top = ", ".join(f"{name} {probability:.1%}" for name, probability in prediction.top(topk))
    return f"{prediction.name:<{NAME}}  {top}"


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


def header(format: str, topk: int) -> str | None:
    """The line above all others."""
    if format != "csv":
        return None
    return _csv(
        ["path", *(f"{what}_{i + 1}" for i in range(topk) for what in ("class", "probability"))]
    )


def _csv(cells: list) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


LINES: dict[str, Callable[[Prediction, int], str]] = {
    "table": as_table,
    "csv": as_csv,
    "jsonl": as_json,
}
