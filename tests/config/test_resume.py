import os
from zipfile import ZipFile

import pytest
from omegaconf import OmegaConf

from mobilenets.config import ConfigError, TrainConfig, to_dict
from mobilenets.config.compose import CONFIGS, Command, Source, compose
from mobilenets.config.resume import (
    MAY_CHANGE_TEXT,
    describe_change,
    find_run,
    resume,
    resume_or_start,
)
from mobilenets.console import relative


@pytest.fixture
def run(tmp_path):
    """A run folder, with an apostrophe and a space, of MobileNetV2 on CIFAR-10."""
    folder = tmp_path / "it's a run"
    folder.mkdir()
    save_config(folder, "model=mobilenet_v2", "data=cifar10")
    for name in ("last.ckpt", "best.ckpt"):
        write(folder / name)
    return folder


def save_config(folder, *overrides):
    """Write the config.yaml of a run."""
    config = compose(TrainConfig, Command(Source(CONFIGS, "train"), list(overrides))).config
    OmegaConf.save(OmegaConf.create(to_dict(config)), folder / "config.yaml")


def write(path):
    """Write a file that passes for a checkpoint, which is a zip archive."""
    with ZipFile(path, "w") as archive:
        archive.writestr("data", b"0" * 1000)


def resumed(run, *overrides):
    command = Command(Source(CONFIGS, "train"), [*overrides, "resume=..."])
    return compose(TrainConfig, resume(command, str(run))).config


def problems(run, *overrides):
    with pytest.raises(ConfigError) as error:
        resumed(run, *overrides)
    return error.value.problems


def test_the_config_is_that_of_the_run(run):
    config = resumed(run)
    assert (config.model.name, config.data.name) == ("mobilenet_v2", "cifar10")
    assert config.resume == str(run / "last.ckpt")


def test_a_checkpoint_within_the_run_may_be_named(run):
    (run / "more").mkdir()
    write(run / "more" / "epoch_3.ckpt")
    for name in ("best.ckpt", "more/epoch_3.ckpt"):
        assert resumed(run / name).resume == str(run / name)


def test_the_command_keeps_the_runs_folder(run):
    command = resume(Command(Source(CONFIGS, "train"), []), str(run))
    assert command.source.folder == run
    omega = compose(TrainConfig, command).omega
    assert (omega.hydra.run.dir, omega.hydra.output_subdir) == (str(run), None)
    assert "file" in omega.hydra.job_logging.handlers


def test_length_devices_logging_and_the_place_of_the_data_may_change(run):
    config = resumed(
        run, "trainer.max_epochs=99", "trainer.devices=2", "data.root=/b",
        "data.download=false", "data.verify=false", "hardware.tune=false",
        "trainer.log_every_n_steps=7", "checkpoint.every_minutes=1",
    )  # fmt: skip
    assert (config.trainer.max_epochs, config.data.root) == (99, "/b")
    assert not config.hardware.tune
    save_config(run, "data=folder", "data.root=/a")
    assert resumed(run, "data.num_workers=3").data.num_workers == 3


def test_unchanged_settings_may_be_repeated(run):
    resumed(run, "model=mobilenet_v2", "data=cifar10", "optimizer.lr=0.05", "seed=0")
    resumed(run, f"hydra.run.dir={str(run)!r}")


def test_every_change_is_named_with_the_old_and_the_new_value(run):
    assert problems(
        run, "model=mobilenet_v1", "experiment=digits", "seed=1", "data.mean=[0.5]",
        "trainer.max_epoch=3", "optimizer.weight_decay=-1", "hydra.run.dir=x",
        "trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2",
    ) == [
        "model=mobilenet_v1: a resumed run keeps its choices; leave it out",
        "experiment=digits: a resumed run keeps its choices; leave it out",
        "hydra.run.dir: a resumed run stays in its folder; leave it out",
        "trainer.max_epoch: did you mean trainer.max_epochs?",
        "optimizer.weight_decay: -1 is out of range (at least 0)",
        f"seed: 0 in the resumed run, 1 now; {MAY_CHANGE_TEXT}",
        f"data.mean: [0.4914, 0.4822, 0.4465] in the resumed run, [0.5] now; {MAY_CHANGE_TEXT}",
        f"trainer.precision: null in the resumed run, 'bf16-mixed' now; {MAY_CHANGE_TEXT}",
        f"trainer.accumulate_grad_batches: 1 in the resumed run, 2 now; {MAY_CHANGE_TEXT}",
    ]  # fmt: skip


def test_settings_that_were_added_since_have_todays_values(run):
    whole = resumed(run)
    config = OmegaConf.load(run / "config.yaml")
    del config.model.freeze, config.model.stages, config.hardware, config.data.augment.color_jitter
    del config.data.class_names, config.schedule.interval
    OmegaConf.save(config, run / "config.yaml")
    before = (run / "config.yaml").read_text()
    assert resumed(run) == whole
    assert not resumed(run, "hardware.tune=false").hardware.tune
    assert problems(run, "schedule.interval=epoch") == [
        f"schedule.interval: {describe_change('step', 'epoch')}"
    ]
    # As Lightning's ddp starts the other processes: what came after stands in the command already.
    command = resume(Command(Source(CONFIGS, "train"), []), str(run))
    again = resume(Command(Source(run, "config"), command.overrides), str(run))
    assert compose(TrainConfig, again).config == whole
    assert (run / "config.yaml").read_text() == before


def test_settings_that_were_removed_since_are_dropped(run):
    today = resumed(run)
    config = OmegaConf.load(run / "config.yaml")
    config.trainer.update({"barebones": False, "limit_predict_batches": None})
    config.trainer.enable_autolog_hparams = True
    config.data.num_workers = 0
    OmegaConf.save(config, run / "config.yaml")
    before = (run / "config.yaml").read_text()
    assert resumed(run) == today
    assert compose(TrainConfig, auto(run, "trainer.max_epochs=20")).config == today
    assert (run / "config.yaml").read_text() == before
    (sentence,) = problems(run, "data.num_workers=0")
    assert sentence.startswith("data.num_workers: is an option of ")


def test_resume_and_weights_contradict(run):
    assert problems(run, "model.weights=/w.pth") == [
        "model.weights: a resumed run has its own weights; set this or resume, not both"
    ]


def test_anything_but_a_run_is_rejected(run, tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "lone.ckpt").touch()
    for name, sentence in {
        "nowhere": "there is no {}",
        ".": "{} is neither a run folder nor a .ckpt in one",
        "notes.txt": "{} is neither a run folder nor a .ckpt in one",
        "lone.ckpt": "{} is neither a run folder nor a .ckpt in one",
        "it's a run/config.yaml": "{} is neither a run folder nor a .ckpt in one",
    }.items():
        path = tmp_path / name
        assert problems(path) == [f"resume: {sentence.format(path)}"]
    (run / "last.ckpt").unlink()
    assert problems(run, "lr=3") == [
        f"resume: {run} has no last.ckpt to resume from; start a new run",
        "lr: did you mean optimizer.lr?",
    ]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(run):
    write(run / "previous.ckpt")
    content = (run / "last.ckpt").read_bytes()
    for damaged in (content[:-40], content.replace(b"0000", b"0010", 1), b"", b"<html>"):
        (run / "last.ckpt").write_bytes(damaged)
        assert resumed(run).resume == str(run / "previous.ckpt")
        assert problems(run / "last.ckpt") == [
            f"resume: {run}/last.ckpt is damaged; resume from another checkpoint or from the run "
            "folder"
        ]
    os.utime(run / "previous.ckpt", (1, 1))
    write(run / "last.ckpt")
    os.utime(run / "last.ckpt", (0, 0))
    assert resumed(run).resume == str(run / "last.ckpt"), "file times don't matter"
    for name in ("last.ckpt", "previous.ckpt"):
        (run / name).write_bytes(b"")
    assert problems(run) == [
        f"resume: {run}/last.ckpt is damaged and no earlier one is left; start a new run"
    ]


# resume=auto: the command of a new run, given again


def auto(run, *overrides):
    given = ["model=mobilenet_v2", "data=cifar10", *overrides, "resume=auto"]
    folder = [f"hydra.run.dir={str(run)!r}"] if run else []
    return resume_or_start(Command(Source(CONFIGS, "train"), [*given, *folder]))


def test_auto_resumes_an_existing_run(run):
    command = auto(run, "trainer.max_epochs=20", "optimizer.lr=0.05", "data.root=/elsewhere")
    config = compose(TrainConfig, command).config
    assert config.resume == str(run / "last.ckpt")
    assert (config.data.root, config.model.name) == ("/elsewhere", "mobilenet_v2")


def test_auto_starts_a_run_where_there_is_no_checkpoint(run, tmp_path):
    for name in ("last.ckpt", "best.ckpt"):
        (run / name).unlink()
    for folder in (run, tmp_path / "new"):
        command = auto(folder, "seed=3")
        assert "resume=auto" not in command.overrides
        assert compose(TrainConfig, command).config.resume is None


def test_auto_names_every_change(run):
    with pytest.raises(ConfigError) as error:
        auto(run, "seed=1", "experiment=cifar10_mobilenet_v2")
    assert f"seed: 0 in the resumed run, 1 now; {MAY_CHANGE_TEXT}" in error.value.problems
    assert len(error.value.problems) > 1, "the experiment's"
    with pytest.raises(ConfigError) as error:
        auto(run, "model=mobilenet_v1")
    assert error.value.problems == [
        f"model.name: 'mobilenet_v2' in the resumed run, 'mobilenet_v1' now; {MAY_CHANGE_TEXT}"
    ]
    with pytest.raises(ConfigError) as error:
        auto(None)
    assert error.value.problems == ["resume: auto needs a fixed run folder: hydra.run.dir=DIR"]


def test_a_relative_path_starts_at_the_working_directory(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert find_run(run.name) == (run, run / "last.ckpt")


def test_problems_in_config_yaml_are_reported_with_its_path(run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("padding: symmetric", "padding: round"))
    assert problems(run) == [f"{relative(path)}: model.padding: 'round' is not symmetric or same"]
