"""The last lines of a run, and the file of its metrics."""

import json
from pathlib import Path

import pytest
import torch

from mobilenets.console import relative
from mobilenets.reports import (
    compute_class_accuracies,
    eval_summary,
    train_summary,
    write_metrics,
)

METRICS = {"test/loss": 0.0512, "test/top1": 0.9861, "test/top5": 0.9995}


def test_the_last_lines_of_a_run_are_metrics_file_and_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = train_summary(METRICS, tmp_path / "runs/a b/best.ckpt").splitlines()
    assert lines[0].split(maxsplit=1)[1] == "accuracy 98.61 %, top-5 99.95 %, loss 0.0512"
    assert lines[1].endswith("'runs/a b/best.ckpt'")
    assert lines[2].endswith("python eval.py checkpoint='runs/a b/best.ckpt'")
    assert lines[3].endswith("tensorboard --logdir 'runs/a b'")


def test_the_last_lines_of_an_evaluation_name_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = {"val/loss": 1.0, "val/top1": 0.5, "images_per_second": 1234.5}
    lines = eval_summary(metrics, "val", tmp_path / "eval_val.json", tmp_path / "eval_val.png")
    assert [" ".join(line.split()) for line in lines.splitlines()] == [
        "val accuracy 50.00 %, loss 1.0000, 1,234 images/s",
        "file eval_val.json",
        "file eval_val.png",
    ]


def test_the_accuracy_of_a_class_is_the_diagonal_over_the_row():
    matrix = torch.tensor([[3, 1, 0], [0, 0, 0], [1, 1, 2]])
    assert compute_class_accuracies(matrix, ["a", "b", "c"]) == {"a": 0.75, "b": None, "c": 0.5}


def test_metrics_are_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_metrics(path, METRICS)
    assert json.loads(path.read_text()) == METRICS
    with pytest.raises(TypeError):
        write_metrics(path, {"bad": object()})
    assert json.loads(path.read_text()) == METRICS
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_path_is_shown_as_it_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative(tmp_path / "runs/x") == "runs/x"
    assert relative(Path("/")) == "/"
