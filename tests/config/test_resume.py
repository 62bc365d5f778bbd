import os
from zipfile import ZipFile

import pytest
from omegaconf import OmegaConf

from mobilenets.config import ConfigError, TrainConfig, to_dict
from mobilenets.config.compose import Composer, Source, compose
from mobilenets.config.resume import (
    MAY_CHANGE_TEXT,
    describe_change,
    find_run,
    resume_or_start,
    resume_run,
)
from mobilenets.console import relative


@pytest.fixture
def run(tmp_path):
    """A run folder, with an apostrophe and a space, of MobileNetV2 on CIFAR-10."""
    folder = tmp_path / "it's a run"
    folder.mkdir()
    config = compose(TrainConfig, Source("train"), ["model=mobilenet_v2", "data=cifar10"]).config
    OmegaConf.save(OmegaConf.create(to_dict(config)), folder / "config.yaml")
    for name in ("last.ckpt", "best.ckpt"):
        write(folder / name)
    return folder


def write(path):
    """A file that passes for a checkpoint: they are zip archives."""
    with ZipFile(path, "w") as archive:
        archive.writestr("data", b"0" * 1000)


def parse(*overrides):
    composer = Composer(TrainConfig, Source("train"))
    return composer, [words[0] for words in composer.parse(overrides)]


def resumed(run, *overrides):
    return resume_run(*parse(*overrides), str(run))[0]


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


def test_the_run_keeps_its_folder(run):
    assert resume_run(*parse(), str(run))[1] == run


def test_length_devices_logging_and_the_place_of_the_data_may_change(run):
    config = resumed(
        run, "trainer.max_epochs=99", "trainer.devices=2", "data.root=/b",
        "data.download=false", "data.verify=false", "hardware.tune=false",
        "trainer.log_every_n_steps=7", "checkpoint.every_minutes=1",
    )  # fmt: skip
    assert (config.trainer.max_epochs, config.data.root) == (99, "/b")
    assert not config.hardware.tune


def test_unchanged_settings_may_be_repeated(run):
    resumed(run, "model=mobilenet_v2", "data=cifar10", "optimizer.lr=0.05", "seed=0")
    resumed(run, f"hydra.run.dir={run}")


def test_every_change_is_named_with_the_old_and_the_new_value(run):
    may = MAY_CHANGE_TEXT
    assert problems(
        run, "model=mobilenet_v1", "experiment=digits", "seed=1", "data.mean=[0.5]",
        "trainer.max_epoch=3", "optimizer.weight_decay=-1", "hydra.run.dir=x",
        "trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2",
    ) == [
        "model=mobilenet_v1: the resumed run has made its choices; leave it out",
        "experiment=digits: the resumed run has made its choices; leave it out",
        "hydra.run.dir: the resumed run stays in its folder; leave it out",
        "trainer.max_epoch: did you mean trainer.max_epochs?",
        "optimizer.weight_decay: -1 is out of range (at least 0)",
        f"seed: 0 in the resumed run, 1 now; {may}",
        f"data.mean: [0.4914, 0.4822, 0.4465] in the resumed run, [0.5] now; {may}",
        f"trainer.precision: null in the resumed run, 'bf16-mixed' now; {may}",
        f"trainer.accumulate_grad_batches: 1 in the resumed run, 2 now; {may}",
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
    assert auto(run, "trainer.max_epochs=20")[0] == today
    assert (run / "config.yaml").read_text() == before
    (sentence,) = problems(run, "data.num_workers=0")
    assert sentence.startswith("data.num_workers: is an option of ")


def test_resume_and_weights_contradict(run):
    assert problems(run, "model.weights=/w.pth") == [
        "model.weights: a resumed run has its own weights; give this or resume, not both"
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
        f"resume: {run} has no last.ckpt to resume from; start the run anew",
        "lr: did you mean optimizer.lr?",
    ]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(run):
    write(run / "previous.ckpt")
    content = (run / "last.ckpt").read_bytes()
    for damaged in (content[:-40], content.replace(b"0000", b"0010", 1), b"", b"<html>"):
        (run / "last.ckpt").write_bytes(damaged)
        assert resumed(run).resume == str(run / "previous.ckpt")
        assert problems(run / "last.ckpt") == [
            f"resume: {run}/last.ckpt is damaged; resume another checkpoint, or the run folder"
        ]
    os.utime(run / "previous.ckpt", (1, 1))
    write(run / "last.ckpt")
    os.utime(run / "last.ckpt", (0, 0))
    assert resumed(run).resume == str(run / "last.ckpt"), "the clock has no say"
    for name in ("last.ckpt", "previous.ckpt"):
        (run / name).write_bytes(b"")
    assert problems(run) == [
        f"resume: {run}/last.ckpt is damaged, with none before it; start the run anew"
    ]


# resume=auto: the command of a new run, given again


def auto(run, *overrides):
    return resume_or_start(*parse("model=mobilenet_v2", "data=cifar10", *overrides), run)


def test_auto_resumes_an_existing_run(run):
    config, folder = auto(run, "trainer.max_epochs=20", "optimizer.lr=0.05", "data.root=/elsewhere")
    assert (folder, config.resume) == (run, str(run / "last.ckpt"))
    assert (config.data.root, config.model.name) == ("/elsewhere", "mobilenet_v2")


def test_auto_starts_a_run_where_there_is_no_checkpoint(run, tmp_path):
    for name in ("last.ckpt", "best.ckpt"):
        (run / name).unlink()
    for folder in (run, tmp_path / "new"):
        assert auto(folder, "seed=3") is None


def test_auto_names_every_change(run):
    may = MAY_CHANGE_TEXT
    with pytest.raises(ConfigError) as error:
        auto(run, "seed=1", "experiment=cifar10_mobilenet_v2")
    assert f"seed: 0 in the resumed run, 1 now; {may}" in error.value.problems
    assert len(error.value.problems) > 1, "the experiment's"
    with pytest.raises(ConfigError) as error:
        auto(run, "model=mobilenet_v1")
    assert error.value.problems == [
        f"model.name: 'mobilenet_v2' in the resumed run, 'mobilenet_v1' now; {may}"
    ]
    with pytest.raises(ConfigError) as error:
        auto(None)
    assert error.value.problems == ["resume: auto needs hydra.run.dir=FOLDER"]


def test_a_relative_path_starts_at_the_working_directory(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert find_run(run.name) == (run, run / "last.ckpt")


def test_problems_in_config_yaml_are_reported_with_its_path(run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("padding: symmetric", "padding: round"))
    assert problems(run) == [f"{relative(path)}: model.padding: 'round' is not symmetric or same"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hydra: {job: {env_set: {CC: evil}}}", "has a section hydra, which could run code"),
        ("resume: ${oc.env:HOME}", "resume: '${oc.env:HOME}' asks for another value"),
        ("resume: ${oc.${x}:HOME}", "asks for another value"),
        ("trainer: [1]", "trainer: is a section of settings"),
    ],
)
def test_a_run_folder_of_another_person_is_data(run, line, words):
    path = run / "config.yaml"
    name = line.partition(":")[0]
    kept = path.read_text().splitlines(keepends=True)
    if name == "trainer":
        start = kept.index("trainer:\n")
        end = next(i for i in range(start + 1, len(kept)) if not kept[i].startswith(" "))
        del kept[start:end]
    path.write_text("".join(x for x in kept if not x.startswith(f"{name}:")) + line + "\n")
    assert words in problems(run)[0]
