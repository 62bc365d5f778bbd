"""Predictions as lines of text, CSV or JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable

from mobilenets.predict.predictor import Prediction

MAX_NAME_WIDTH = 60  # columns; classes are aligned behind names up to this width


def make_formatter(
    format: str, topk: int, names: Iterable[str]
) -> tuple[str, Callable[[Prediction], str]]:
    """Return the header line ("" = none), and a function that formats a prediction as a line.

    Args:
        format: "table", "csv" or "jsonl".
        topk: classes in a line.
        names: of the images, as far as they are known.
    """
    if format == "csv":
        columns = [f"{what}_{i + 1}" for i in range(topk) for what in ("class", "probability")]
        header = _join_csv(["path", *columns])
        return header, lambda prediction: format_csv(prediction, topk)
    if format == "jsonl":
        return "", lambda prediction: format_json(prediction, topk)
    width = max((len(name) for name in names if len(name) <= MAX_NAME_WIDTH), default=0)
    return "", lambda prediction: format_text(prediction, topk, width)


def format_text(prediction: Prediction, topk: int, width: int) -> str:
    """Return "path  class 93.1%, class 4.0%, ..."."""
    top = ", ".join(f"{name} {probability:.1%}" for name, probability in prediction.top(topk))
    return f"{prediction.name:<{width}}  {top}"


def format_csv(prediction: Prediction, topk: int) -> str:
    """Return "path,class,probability,class,probability,..."."""
    cells: list[object] = [prediction.name]
    for name, probability in prediction.top(topk):
        cells += [name, f"{probability:.6f}"]
    return _join_csv(cells)


def format_json(prediction: Prediction, topk: int) -> str:
    """Return {"path": ..., "predictions": [{"class": ..., "probability": ...}, ...]}."""
    top = [
        {"class": name, "probability": round(probability, 6)}
        for name, probability in prediction.top(topk)
    ]
    return json.dumps({"path": prediction.name, "predictions": top}, ensure_ascii=False)


def _join_csv(cells: list) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
