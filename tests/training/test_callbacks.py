"""The callbacks that steer a run."""

import pytest
from pytorch_lightning.callbacks import EarlyStopping

from mobilenets import create_model
from mobilenets.training import Freezing, training_callbacks


def make_callbacks(freeze="none", unfreeze=None, patience=None):
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=5)
    return training_callbacks(net, freeze, unfreeze, patience)


def test_a_run_stops_when_validation_has_not_improved_for_as_long_as_the_patience(run_scripted):
    stopping = [one for one in make_callbacks(patience=2) if isinstance(one, EarlyStopping)]
    trainer = run_scripted([0.2, 0.7, 0.5, 0.6, 0.9], stopping, enable_checkpointing=False)
    assert trainer.current_epoch == 4


@pytest.mark.parametrize(
    ("freeze", "count"), [("none", 0), (0, 0), (1, 1), ("backbone", 1)], ids=str
)
def test_layers_are_frozen_only_if_asked(freeze, count):
    assert sum(isinstance(one, Freezing) for one in make_callbacks(freeze)) == count


def test_there_is_no_early_stopping_without_patience():
    assert not any(isinstance(one, EarlyStopping) for one in make_callbacks())
