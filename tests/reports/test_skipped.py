"""Skipped images are counted and named."""

import logging
from types import SimpleNamespace

import pytest
import torch

from mobilenets.data import Batch
from mobilenets.reports import SkippedImages


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "mobilenets")
    return lambda: [line for record in caplog.records for line in record.message.splitlines()]


def batch(*skipped):
    empty = torch.zeros(0, dtype=torch.int64)
    return Batch(torch.zeros(0, 1, 2, 2), empty, empty, 0, skipped)


def test_the_number_is_reported_every_epoch_and_each_problem_once(lines):
    report = SkippedImages()
    for epoch in (0, 1):
        trainer = SimpleNamespace(current_epoch=epoch)
        for sentences in (("b.jpg is bad",), (), ("a.jpg is bad",)):
            report.on_train_batch_end(trainer, None, None, batch(*sentences), 0)
        report.on_validation_batch_end(trainer, None, None, batch("c.jpg is bad"), 0, 0)
        report.on_validation_epoch_end(trainer, None)
        report.on_train_epoch_end(trainer, None)
    assert lines() == [
        "skipped 1 bad images of val",
        "        c.jpg is bad",
        "skipped 2 bad images of train, epoch 1",
        "        a.jpg is bad",
        "        b.jpg is bad",
        "skipped 1 bad images of val",
        "skipped 2 bad images of train, epoch 2",
    ]


def test_without_skipped_images_there_is_no_report(lines):
    report = SkippedImages()
    report.on_test_batch_end(None, None, None, batch(), 0, 0)
    report.on_test_epoch_end(SimpleNamespace(datamodule=SimpleNamespace(test_split="test")), None)
    assert lines() == []


def test_at_most_five_are_named(lines):
    report = SkippedImages()
    report.on_test_batch_end(None, None, None, batch(*(f"{i}.jpg" for i in range(9))), 0, 0)
    report.on_test_epoch_end(SimpleNamespace(datamodule=SimpleNamespace(test_split="val")), None)
    assert lines()[0] == "skipped 9 bad images of val"
    assert lines()[-1] == "        ... and 4 more" and len(lines()) == 7
