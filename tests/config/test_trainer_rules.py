"""What Lightning would refuse after torch is loaded is refused before that."""

import pytest

from mobilenets.config import ConfigError, TrainConfig, trainer_rules
from mobilenets.config.compose import Source, compose


def problems(*words):
    try:
        compose(TrainConfig, Source("train"), [f"trainer.{word}" for word in words])
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("devices=-1", "-1 means all GPUs, and the run is on CPUs"),
        ("devices=[0,1]", "[0, 1] names GPUs, and the run is on CPUs"),
        ("devices='0,1'", "0,1 names GPUs, and the run is on CPUs"),
        ("devices=0", "0 is out of range"),
        ("devices=many", "'many' is not a number"),
        ("accelerator=gpu", "gpu, and this machine shows no GPU"),
        ("strategy=dpd", "unknown; did you mean ddp?"),
        ("max_time=5m", "'5m' is not DD:HH:MM:SS"),
        ("val_check_interval=1.5", "1.5 is out of range"),
        ("val_check_interval=0", "0 is out of range"),
        ("val_check_interval=often", "'often' is not a number or a time"),
        ("sync_batchnorm=true", "works on GPUs only"),
    ],
)
def test_a_mistake_is_one_sentence(monkeypatch, word, sentence):
    monkeypatch.setattr(trainer_rules, "has_gpu", lambda: False)
    (problem,) = problems(word)
    assert problem.startswith(f"trainer.{word.partition('=')[0]}: {sentence}")


@pytest.mark.parametrize(
    "word",
    ["devices=2", "devices=auto", "strategy=ddp", "max_time=00:01:00:00", "val_check_interval=7",
     "val_check_interval=0.25", "val_check_interval=00:00:10:00", "accelerator=cpu"],
)  # fmt: skip
def test_what_lightning_takes_is_taken(monkeypatch, word):
    monkeypatch.setattr(trainer_rules, "has_gpu", lambda: False)
    assert problems(word) == []


def test_gpus_are_counted_and_named(monkeypatch):
    monkeypatch.setattr(trainer_rules, "has_gpu", lambda: True)
    assert problems("devices=-1") == problems("devices=[0,1]") == problems("accelerator=gpu") == []
    assert problems("sync_batchnorm=true", "devices=2", "strategy=ddp") == []


def test_torchrun_and_the_run_agree_on_the_number_of_processes(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert problems("devices=1") == [
        "trainer.devices: 1 on 1 node(s), and torchrun has started 2 process(es): "
        "set trainer.devices=2"
    ]
    assert problems("devices=2") == []


def test_the_strategies_are_lightnings():
    from pytorch_lightning.strategies import StrategyRegistry

    assert set(trainer_rules.STRATEGIES) <= {*StrategyRegistry.available_strategies(), "auto"}
