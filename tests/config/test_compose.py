import dataclasses
from itertools import pairwise

import pytest

from mobilenets.choices import join_words
from mobilenets.config import ConfigError, EvalConfig, TrainConfig
from mobilenets.config.compose import CONFIGS, Source, compose, compose_jobs
from mobilenets.config.groups import CHOICES, DataConfig, ModelConfig
from mobilenets.config.words import NO_PLUGINS, ONLY_FOLDERS
from mobilenets.config.yaml_files import NO_HYDRA


def train(*overrides, sweep=False, folders=()):
    source = Source("train", tuple(folders))
    return compose_jobs(TrainConfig, source, list(overrides), sweep=sweep)[0].config


def problems(*overrides, **options):
    with pytest.raises(ConfigError) as error:
        train(*overrides, **options)
    return error.value.problems


def names(group):
    """The choices of a group, in the order of the messages."""
    return ", ".join(sorted(path.stem for path in CONFIGS.glob(f"{group}/*.yaml")))


TYPO = f"model=mobilenet_2: unknown; did you mean mobilenet_v2? Choices: {names('model')}"


def owners(base, option):
    """The choices of a section that have an option, as a message lists them."""
    variants = CHOICES[base].items()
    fields = {name: {field.name for field in dataclasses.fields(cls)} for name, cls in variants}
    return join_words([name for name, known in fields.items() if option in known], "and")


SHALLOW = (
    f"model.shallow: is an option of {owners(ModelConfig, 'shallow')}, but model is mobilenet_v2"
)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["trainer.max_epoch=3"], "trainer.max_epoch: did you mean trainer.max_epochs?"),
        (["lr=0.1"], "lr: did you mean optimizer.lr?"),
        (["trainer.lr=0.1"], "trainer.lr: did you mean optimizer.lr?"),
        (["data.flip=0.1"], "data.flip: did you mean data.augment.flip?"),
        (["epochs=3"], "epochs: did you mean trainer.max_epochs?"),
        (["modle=mobilenet_v1"], "modle: did you mean model?"),
        (["zzz=1"], "zzz: there is no such setting; --help lists all"),
        (["+trainer.plugins=1"], "trainer.plugins: there is no such setting; --help lists all"),
        (["model={padd: same}"], "model.padd: did you mean model.padding?"),
        (
            ["model=mobilenet_v2", "model.shallow=true"],
            SHALLOW,
        ),
        (
            ["data.root=/x"],
            f"data.root: is an option of {owners(DataConfig, 'root')}, but data is digits",
        ),
        (["model=mobilenet_2"], TYPO),
        (
            ["optimizer=null"],
            f"optimizer=null: unknown. Choices: {names('optimizer')}",
        ),
        (["mobilenet_v2"], "mobilenet_v2: did you mean model=mobilenet_v2?"),
        (["model.width_mult"], "model.width_mult: should be setting=value; see --help"),
        (["--lr=3"], "--lr=3: there is no such flag; settings are written setting=value"),
        (
            ["data.mean=[0.5"],
            "data.mean=[0.5: the value can't be read; in quotes it can: 'data.mean=\"[0.5\"'",
        ),
        (
            ["model.width_mult=0.25,0.5"],
            "model.width_mult=0.25,0.5: a list is written [a,b]; to run with each value add "
            "--multirun",
        ),
        (["model.width_mult=abc"], "model.width_mult: 'abc' is not a number"),
        (["optimizer.lr=-1"], "optimizer.lr: -1 is out of range (above 0)"),
        (
            ["model.padding=sam"],
            "model.padding: 'sam' is not symmetric or same; did you mean same?",
        ),
        (["model={padding: 3}"], "model.padding: 3 is not symmetric or same"),
        (["data=folder"], "data.root: needs a value, e.g. data.root=/data/flowers"),
        (["~seed"], "seed: needs a value"),
        (["data.augment=false"], "data.augment: is a section of settings, not false"),
        (["model.name=mobilenet_v2"], "model.name: is chosen with model=mobilenet_v2"),
        (["seed=${sed}"], "seed: Interpolation key 'sed' not found"),
        (["~sed"], "sed: did you mean seed?"),
        (["hydra.run.dri=x"], f"hydra.run.dri=x: {ONLY_FOLDERS}"),
        (["+hydra.job.env_set.CC=x"], f"+hydra.job.env_set.CC=x: {ONLY_FOLDERS}"),
        (["hydra/job_logging=x"], f"hydra/job_logging=x: {ONLY_FOLDERS}"),
        (["hydra/launcher=x"], f"hydra/launcher=x: {NO_PLUGINS}"),
        (["hydra.sweeper.n_jobs=3"], f"hydra.sweeper.n_jobs=3: {NO_PLUGINS}"),
        # What is taken from elsewhere is told once.
        (
            ["data.strides=cifr"],
            "data.strides: 'cifr' is not imagenet or cifar; did you mean cifar?",
        ),
    ],
)
def test_a_problem_is_one_sentence_that_names_the_fix(overrides, sentence):
    assert problems(*overrides) == [sentence]


def test_all_problems_are_listed_at_once():
    assert problems(
        "model=mobilenet_2", "model.depth=3", "trainer.max_epoch=3", "data=folder",
        "optimizer.lr=-1", "hydra.run.dri=x", "mobilenet_v2", "data.batch_size=many",
    ) == [
        f"hydra.run.dri=x: {ONLY_FOLDERS}",
        "mobilenet_v2: did you mean model=mobilenet_v2?",
        TYPO,  # and nothing on model.depth, which that net may well have
        "trainer.max_epoch: did you mean trainer.max_epochs?",
        "data.batch_size: 'many' is not an integer",
        "data.root: needs a value, e.g. data.root=/data/flowers",
        "optimizer.lr: -1 is out of range (above 0)",
    ]  # fmt: skip


def test_what_hydra_allows_is_allowed():
    config = train(
        "model={width_mult: 2}", "++seed=3", "data.class_names=[0,1]", "trainer.fast_dev_run=3",
        "trainer.max_time=00:01:00:00", "model.strides=cifar", "resume='a b(c)=d'",
    )  # fmt: skip
    assert (config.model.width_mult, config.seed, config.data.class_names) == (2.0, 3, ["0", "1"])
    assert (config.trainer.max_time, config.resume) == ("00:01:00:00", "a b(c)=d")


def test_every_job_of_a_sweep_is_checked():
    sweep = ["model=mobilenet_v1,mobilenet_2", "model.width_mult=0.5,-0.5", "seed=range(0,3)"]
    assert problems(*sweep, sweep=True) == [
        "model.width_mult: -0.5 is out of range (above 0)",
        TYPO,
    ]
    assert train("model.width_mult=choice(0.25,0.5)", sweep=True).model.width_mult == 0.25


def test_eval_has_its_own_settings():
    with pytest.raises(ConfigError) as error:
        compose(EvalConfig, Source("eval"), ["splt=val", "data.rot=/x"])
    assert error.value.problems == [
        "splt: did you mean split?",
        "data.rot: did you mean data.root?",
        "checkpoint: needs a value, e.g. checkpoint=runs/digits/mobilenet_v1_1.0/...",
    ]


@pytest.fixture
def own(tmp_path):
    """Writes files of a user's own configs folder; returns what brings it in."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return [tmp_path]

    return write


HEADER = "# @package _global_\n"


def test_own_choices_are_found(own):
    folders = own(data__flowers="# Flowers\ndefaults: [folder, _self_]\nroot: /data/flowers\n")
    config = train("data=flowers", folders=folders)
    assert (config.data.name, config.data.root) == ("folder", "/data/flowers")
    sentence = problems("data=floers", folders=folders)[0]
    assert sentence.startswith("data=floers: unknown; did you mean flowers?")


def test_problems_in_a_file_are_reported_with_its_path(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = own(
        experiment__mine=HEADER
        + "defaults:\n  - override /model: mobilenet_v2\n"
        + "seeed: 1\nmodel: {shallow: true}\ntrainer: {max_epoch: 3, max_epochs: x}\n"
    )
    assert problems("experiment=mine", "optimizer.lr=-1", folders=folders) == [
        "experiment/mine.yaml: seeed: did you mean seed?",
        f"experiment/mine.yaml: {SHALLOW}",
        "optimizer.lr: -1 is out of range (above 0)",
        "experiment/mine.yaml: trainer.max_epoch: did you mean trainer.max_epochs?",
        "experiment/mine.yaml: trainer.max_epochs: 'x' is not an integer or null",
    ]
    # The command line's value is the one that counts.
    assert len(problems("experiment=mine", "trainer.max_epochs=3", folders=folders)) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEADER + "defaults:\n  - override /model: mobilenet_2\n", f"experiment/mine.yaml: {TYPO}"),
        (
            HEADER + "defaults:\n  - override /modle: mobilenet_v2\n",
            "experiment/mine.yaml: Could not override 'modle'. No match in the defaults list.",
        ),
        (
            HEADER + "trainer:\n  max_epochs: [3\n",
            "experiment/mine.yaml, line 4: expected ',' or ']', but got '<stream end>'",
        ),
        (HEADER + "trainer: 3\n", "experiment/mine.yaml: trainer: is a section of settings, not 3"),
        (
            "trainer:\n  max_epochs: 3\n",
            "experiment: its file has to begin with: # @package _global_",
        ),
    ],
)
def test_a_broken_file_is_one_sentence(own, tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    assert problems("experiment=mine", folders=own(experiment__mine=text)) == [sentence]


def test_a_missing_configs_folder_says_how_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("mobilenets.config.compose.CONFIGS", tmp_path / "configs")
    with pytest.raises(ConfigError, match=r"there is no .*train.yaml: install mobilenets again"):
        compose(TrainConfig, Source("train"), [])


CODE = "{job: {env_set: {CC: evil}}}"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + f"hydra: {CODE}\n",
        HEADER + "defaults:\n  - override /hydra/job_logging: colorlog\n",
        HEADER + "hydra.run.dir: /tmp\n",
        HEADER + "defaults:\n  - base\n",
    ],
)
def test_settings_of_hydra_in_other_peoples_files_are_refused(own, text):
    """They could set variables of the process, load pickles and build objects."""
    folders = own(experiment__mine=text, experiment__base=HEADER + f"hydra: {CODE}\n")
    (problem,) = problems("experiment=mine", folders=folders)
    assert problem.endswith(f".yaml {NO_HYDRA}")


def test_a_list_or_a_bomb_in_a_file_is_one_sentence(own):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]
    for text, words in {
        "- 1\n": "holds a list at the top",
        "hello\n": "holds a text at the top",
        "\n".join(lines): "has aliases that repeat more than",
        "a: " + "[" * 100_000: "is nested too deeply",
        "a: " + "[" * 60 + "]" * 60: "is nested too deeply",
        "a: &a [*a]": "is nested too deeply",
    }.items():
        (problem,) = problems("experiment=mine", folders=own(experiment__mine=HEADER + text))
        assert "experiment/mine.yaml" in problem and words in problem
