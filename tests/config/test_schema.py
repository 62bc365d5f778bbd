import dataclasses
import inspect
from typing import get_args, get_type_hints

import pytest

from mobilenets.config import EvalConfig, TrainConfig
from mobilenets.config.checks import iter_settings
from mobilenets.config.compose import Source, compose
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import PredictConfig, TrainerConfig

SET_BY_TRAIN_PY = {
    "self", "logger", "callbacks", "plugins", "default_root_dir", "use_distributed_sampler",
    "enable_checkpointing", "enable_model_summary", "reload_dataloaders_every_n_epochs",
    "model_registry",
}  # fmt: skip
WITHOUT_EFFECT_HERE = {"limit_predict_batches", "enable_autolog_hparams", "barebones"}
DIFFERENT_ON_PURPOSE = {"devices", "max_epochs", "num_sanity_val_steps", "log_every_n_steps"}


def train(*overrides):
    return compose(TrainConfig, Source("train"), list(overrides)).config


def evaluate(*overrides):
    return compose(EvalConfig, Source("eval"), ["checkpoint=x", *overrides]).config


def test_the_trainer_has_lightnings_arguments_and_defaults():
    from pytorch_lightning import Trainer

    arguments = inspect.signature(Trainer.__init__).parameters
    ours = vars(train().trainer)
    assert set(ours) | SET_BY_TRAIN_PY | WITHOUT_EFFECT_HERE == set(arguments)
    assert set(ours).isdisjoint(WITHOUT_EFFECT_HERE)
    assert {
        name for name, value in ours.items() if value != arguments[name].default
    } == DIFFERENT_ON_PURPOSE


def test_the_names_are_those_of_the_builders():
    from mobilenets.data.datamodule import IN_FILES, IN_MEMORY
    from mobilenets.models import MODELS
    from mobilenets.predict.predictor import BACKEND_CHOICES
    from mobilenets.training import OPTIMIZERS, SCHEDULES

    names = {base.__name__: set(variants) for base, variants in CHOICES.items()}
    assert names == {
        "ModelConfig": set(MODELS),
        "DataConfig": {*IN_MEMORY, *IN_FILES},
        "OptimizerConfig": set(OPTIMIZERS),
        "ScheduleConfig": set(SCHEDULES),
    }
    assert set(get_args(get_type_hints(PredictConfig)["backend"])) == set(BACKEND_CHOICES)


def test_every_setting_has_a_meaning_and_no_default():
    fields = [field for _, _, field in iter_settings(EvalConfig, {})]
    fields += [field for _, _, field in iter_settings(TrainConfig, {})]
    for variants in CHOICES.values():
        for variant in variants.values():
            fields += [field for _, _, field in iter_settings(variant, {})]
    assert len(fields) > 200
    for field in fields:
        assert field.metadata["meaning"], field.name
        assert field.default is field.default_factory is dataclasses.MISSING, field.name


def test_the_net_has_the_classes_and_channels_of_the_data():
    model = train("model=mobilenet_v2").model
    options = model.options(10, 1)
    assert (options["num_classes"], options["in_channels"]) == (10, 1)
    assert not {"weights", "freeze", "unfreeze"} & set(options)
    with pytest.raises(ValueError, match=r"^model.num_classes: is 5, but the data has 10; leave"):
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


def test_eval_keeps_the_data_settings_of_training_by_default():
    trained = train("data=cifar10", "data.root=/a").data
    assert evaluate().data.merge_with(trained) == trained.options()
    changed = evaluate("data.root=/b", "data.batch_size=7").data.merge_with(trained)
    assert (changed["root"], changed["batch_size"]) == ("/b", 7)
    for change in ("data.root=/b", "data.num_workers=2", "data.on_bad_image=skip"):
        key = change.partition("=")[0]
        with pytest.raises(ValueError, match=rf"^{key}: digits has no such setting; leave it out$"):
            evaluate(change).data.merge_with(train().data)
    files = train("data=folder", "data.root=/a").data
    assert evaluate("data.num_workers=2").data.merge_with(files)["num_workers"] == 2


def test_eval_keeps_the_precision_of_training_by_default():
    trained = train("trainer.precision=bf16-mixed").trainer
    assert isinstance(trained, TrainerConfig)
    assert evaluate().trainer.merge_with(trained)["precision"] == "bf16-mixed"
    exact = evaluate("trainer.precision=32-true").trainer
    assert exact.merge_with(trained)["precision"] == "32-true"


def test_eval_keeps_the_tuning_of_training_by_default():
    for tuned in (True, False):
        trained = train(f"hardware.tune={tuned}").hardware
        assert evaluate().hardware.merge_with(trained) is tuned
        assert evaluate(f"hardware.tune={not tuned}").hardware.merge_with(trained) is not tuned
    trained = train("trainer.benchmark=true").trainer
    assert evaluate().trainer.merge_with(trained)["benchmark"] is False
