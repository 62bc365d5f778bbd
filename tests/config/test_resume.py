import pytest
from omegaconf import OmegaConf

from mobilenets.config import ConfigError, TrainConfig, to_dict
from mobilenets.config.compose import CONFIGS, Command, Source, compose, shown
from mobilenets.config.resume import find_run, resume


@pytest.fixture
def run(tmp_path):
    """A run folder, with an apostrophe and a space, of MobileNetV2 on CIFAR-10."""
    folder = tmp_path / "it's a run"
    folder.mkdir()
    command = Command(Source(CONFIGS, "train"), ["model=mobilenet_v2", "data=cifar10"])
    OmegaConf.save(
        OmegaConf.create(to_dict(compose(TrainConfig, command).config)), folder / "config.yaml"
    )
    (folder / "last.ckpt").touch()
    (folder / "best.ckpt").touch()
    return folder


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
    (run / "more" / "epoch_3.ckpt").touch()
    for name in ("best.ckpt", "more/epoch_3.ckpt"):
        assert resumed(run / name).resume == str(run / name)


def test_the_command_keeps_the_runs_folder(run):
    command = resume(Command(Source(CONFIGS, "train"), []), str(run))
    assert command.source.folder == run
    omega = compose(TrainConfig, command).omega
    assert (omega.hydra.run.dir, omega.hydra.output_subdir) == (str(run), None)
    assert "file" in omega.hydra.job_logging.handlers


def test_the_trainer_the_machine_and_the_place_of_the_data_may_change(run):
    config = resumed(
        run, "trainer.max_epochs=99", "trainer.devices=2", "data.root=/b", "data.num_workers=3",
        "data.download=false", "data.verify=false", "hardware.tune=false",
    )  # fmt: skip
    assert (config.trainer.max_epochs, config.data.root, config.data.num_workers) == (99, "/b", 3)
    assert not config.hardware.tune


def test_what_the_run_has_already_may_be_repeated(run):
    resumed(run, "model=mobilenet_v2", "data=cifar10", "optimizer.lr=0.05", "seed=0")
    resumed(run, f"hydra.run.dir={str(run)!r}")


def test_every_change_is_named_with_the_old_and_the_new_value(run):
    may = "only trainer.*, hardware.* and where the data is may change"
    assert problems(
        run, "model=mobilenet_v1", "experiment=digits", "seed=1", "data.mean=[0.5]",
        "trainer.max_epoch=3", "optimizer.weight_decay=-1", "hydra.run.dir=x",
    ) == [
        "model=mobilenet_v1: the resumed run has made its choices; leave it out",
        "experiment=digits: the resumed run has made its choices; leave it out",
        "hydra.run.dir: the resumed run stays in its folder; leave it out",
        "trainer.max_epoch: did you mean trainer.max_epochs?",
        "optimizer.weight_decay: -1 is out of range (at least 0)",
        f"seed: 0 in the resumed run, 1 now; {may}",
        f"data.mean: [0.4914, 0.4822, 0.4465] in the resumed run, [0.5] now; {may}",
    ]  # fmt: skip


def test_a_run_of_an_earlier_version_goes_on_with_todays_value_of_what_it_lacks(run):
    whole = resumed(run)
    config = OmegaConf.load(run / "config.yaml")
    del config.model.freeze, config.model.stages, config.hardware, config.data.augment.color_jitter
    del config.data.class_names, config.schedule.interval
    OmegaConf.save(config, run / "config.yaml")
    before = (run / "config.yaml").read_text()
    assert resumed(run) == whole
    assert not resumed(run, "hardware.tune=false").hardware.tune
    assert problems(run, "schedule.interval=epoch") == [
        "schedule.interval: 'step' in the resumed run, 'epoch' now; only trainer.*, hardware.* and "
        "where the data is may change"
    ]
    # As Lightning's ddp starts the other processes: what came after stands in the command already.
    command = resume(Command(Source(CONFIGS, "train"), []), str(run))
    again = resume(Command(Source(run, "config"), command.overrides), str(run))
    assert compose(TrainConfig, again).config == whole
    assert (run / "config.yaml").read_text() == before


def test_resume_and_weights_contradict(run):
    assert problems(run, "model.weights=/w.pth") == [
        "model.weights: a resumed run has its own weights; give this or resume, not both"
    ]


def test_what_is_no_run_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "lone.ckpt").touch()
    for name, sentence in {
        "nowhere": "there is no {}",
        ".": "{} is no run folder, and no .ckpt in one",
        "notes.txt": "{} is no run folder, and no .ckpt in one",
        "lone.ckpt": "{} is no run folder, and no .ckpt in one",
        "it's a run/config.yaml": "{} is no run folder, and no .ckpt in one",
    }.items():
        path = tmp_path / name
        assert problems(path) == [f"resume: {sentence.format(path)}"]
    (run / "last.ckpt").unlink()
    assert problems(run, "lr=3") == [
        f"resume: {run} has no last.ckpt to go on from; start the run anew",
        "lr: did you mean optimizer.lr?",
    ]


def test_a_relative_path_is_seen_from_here(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert find_run(run.name) == (run, run / "last.ckpt")


def test_a_damaged_config_is_named_with_its_file(run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("padding: symmetric", "padding: round"))
    assert problems(run) == [f"{shown(path)}: model.padding: 'round' is not symmetric or same"]
