import dataclasses
import inspect

import pytest

from mobilenets.config import EvalConfig, TrainConfig
from mobilenets.config.checks import settings
from mobilenets.config.compose import CONFIGS, Command, Source, compose
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import TrainerConfig

SET_BY_TRAIN_PY = {
    "self", "logger", "callbacks", "plugins", "default_root_dir", "use_distributed_sampler",
    "enable_checkpointing", "enable_model_summary", "reload_dataloaders_every_n_epochs",
    "model_registry",
}  # fmt: skip
DIFFERENT_ON_PURPOSE = {"devices", "max_epochs", "num_sanity_val_steps", "log_every_n_steps"}


def train(*overrides):
    return compose(TrainConfig, Command(Source(CONFIGS, "train"), list(overrides))).config


def evaluate(*overrides):
    return compose(
        EvalConfig, Command(Source(CONFIGS, "eval"), ["checkpoint=x", *overrides])
    ).config


def test_the_trainer_has_lightnings_arguments_and_defaults():
    from pytorch_lightning import Trainer

    arguments = inspect.signature(Trainer.__init__).parameters
    ours = vars(train().trainer)
    assert set(ours) | SET_BY_TRAIN_PY == set(arguments)
    assert {
        name for name, value in ours.items() if value != arguments[name].default
    } == DIFFERENT_ON_PURPOSE


def test_the_names_are_those_of_the_builders():
    from mobilenets.models import list_models
    from mobilenets.training.optimizer import OPTIMIZERS
    from mobilenets.training.schedule import SCHEDULES

    names = {base.__name__: set(variants) for base, variants in CHOICES.items()}
    assert names["ModelConfig"] == set(list_models())
    assert names["OptimizerConfig"] == set(OPTIMIZERS)
    assert names["ScheduleConfig"] == set(SCHEDULES)


def test_the_activations_are_those_of_the_zoo():
    from typing import get_args, get_type_hints

    from mobilenets.config.groups import ModelConfig
    from mobilenets.models.blocks import ACTIVATIONS

    assert set(get_args(get_type_hints(ModelConfig)["activation"])) == set(ACTIVATIONS)


def test_every_setting_has_a_meaning_and_no_default():
    fields = [field for _, _, field in settings(EvalConfig, {})]
    fields += [field for _, _, field in settings(TrainConfig, {})]
    for variants in CHOICES.values():
        for variant in variants.values():
            fields += [field for _, _, field in settings(variant, {})]
    assert len(fields) > 200
    for field in fields:
        assert field.metadata["meaning"], field.name
        assert field.default is field.default_factory is dataclasses.MISSING, field.name


def test_the_net_takes_the_numbers_of_the_data():
    model = train("model=mobilenet_v2").model
    options = model.options(10, 1)
    assert (options["num_classes"], options["in_channels"]) == (10, 1)
    assert not {"weights", "freeze", "unfreeze"} & set(options)
    with pytest.raises(ValueError, match=r"^model.num_classes: 5, and the data has 10; leave it"):
        train("data=folder", "data.root=/x", "model.num_classes=5").model.options(10, 3)


def test_the_data_module_gets_everything_but_the_strides():
    config = train("data=cifar10").data
    assert set(config.options()) == set(vars(config)) - {"strides"}
    assert config.options()["augment"]["crop_padding"] == 4


@pytest.mark.parametrize(("asked", "terminal", "given"), [(None, True, True), (None, False, False)])
def test_a_progress_bar_is_for_terminals(monkeypatch, asked, terminal, given):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    trainer = train().trainer
    assert trainer.enable_progress_bar is asked
    assert trainer.options()["enable_progress_bar"] is given


def test_eval_takes_the_data_of_training_unless_told_otherwise():
    trained = train("data=cifar10", "data.root=/a").data
    assert evaluate().data.over(trained) == trained.options()
    changed = evaluate("data.root=/b", "data.batch_size=7").data.over(trained)
    assert (changed["root"], changed["batch_size"]) == ("/b", 7)
    with pytest.raises(ValueError, match=r"^data.root: digits has no such setting; leave it out$"):
        evaluate("data.root=/b").data.over(train().data)


def test_eval_runs_in_the_precision_of_training_unless_told_otherwise():
    trained = train("trainer.precision=bf16-mixed").trainer
    assert isinstance(trained, TrainerConfig)
    assert evaluate().trainer.over(trained)["precision"] == "bf16-mixed"
    assert evaluate("trainer.precision=32-true").trainer.over(trained)["precision"] == "32-true"


def test_eval_uses_the_machine_as_training_did_unless_told_otherwise():
    for tuned in (True, False):
        trained = train(f"hardware.tune={tuned}").hardware
        assert evaluate().hardware.over(trained) is tuned
        assert evaluate(f"hardware.tune={not tuned}").hardware.over(trained) is not tuned
    assert evaluate().trainer.over(train("trainer.benchmark=true").trainer)["benchmark"] is False
