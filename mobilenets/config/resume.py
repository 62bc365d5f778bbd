"""A run that is resumed: which one `resume` names, and what may differ from before."""

from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf

from mobilenets.config.checks import (
    ConfigError,
    Problem,
    build_config,
    find_conflicts,
    flatten,
    list_groups,
    to_dict,
)
from mobilenets.config.compose import Composer, Files
from mobilenets.config.saved import check_saved, fill_missing
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import format_value
from mobilenets.config.words import FOLDERS, Word
from mobilenets.config.yaml_files import read_yaml
from mobilenets.console import relative
from mobilenets.run_folder import LAST, PREVIOUS, find_newest_checkpoint, is_valid_checkpoint

MAY_CHANGE = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("data.root", "data.num_workers", "data.download", "data.verify"),
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    *("checkpoint.", "hardware.", "resume"),
)
MAY_CHANGE_TEXT = (
    "only the length of the run, devices, workers, logging and the data's location may change"
)


def resume_run(composer: Composer, words: list[Word], run: str) -> tuple[TrainConfig, Path]:
    """Return the config and the folder of the run `run`, with settings laid over its config.

    Args:
        composer: gets the problems of single words.
        words: the command line, without `resume`.
        run: a run folder, or a .ckpt within one.

    Raises:
        ConfigError: there is no such run, or something differs that may not.
    """
    try:
        folder, checkpoint = find_run(run)
    except ValueError as error:
        composer.compose(words)
        raise ConfigError([Problem("resume", str(error)), *composer.problems]) from error
    before = load_run_config(folder)

    problems, changed = list(composer.problems), []
    composer.problems.clear()
    for word in words:
        if composer.is_choice(word):
            if word.value != getattr(getattr(before, word.key, None), "name", None):
                text = "the resumed run has made its choices; leave it out"
                problems.append(Problem(word.text, text))
        elif word.key in FOLDERS:
            if word.key != "hydra.run.dir" or Path(word.value).expanduser().absolute() != folder:
                text = "the resumed run stays in its folder; leave it out"
                problems.append(Problem(word.key, text))
        elif composer.is_setting(word, to_dict(before)):
            changed.append(word)
    changed.append(Word("resume", str(checkpoint), ""))
    omega = OmegaConf.create(to_dict(before))
    config, found = composer.build_config(omega, changed, NO_FILES)
    problems += composer.problems
    if config is not None:
        problems += find_conflicts(config, found)
        wrong = {problem.key for problem in found}
        problems += [change for change in find_changes(before, config) if change.key not in wrong]
    if problems:
        raise ConfigError(problems)
    return config, folder


def resume_or_start(
    composer: Composer, words: list[Word], folder: Path | None
) -> tuple[TrainConfig, Path] | None:
    """Return what `resume=auto` asks for: the run in `folder`, None if there is none to resume.

    The command is that of the new run, the same each time. What it states is compared with what
    the run has; the run keeps the rest of its config.

    Raises:
        ConfigError: the folder isn't given, or something differs that may not.
    """
    if folder is None:
        raise ConfigError([Problem("resume", "auto needs hydra.run.dir=FOLDER")])
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        return None
    composed = composer.compose(words)
    if composer.problems or composed is None:
        raise ConfigError(composer.problems)
    old, new = flatten(to_dict(load_run_config(folder))), flatten(to_dict(composed.config))
    names = [f"{section}.name" for section in list_groups(TrainConfig)]
    if problems := [
        Problem(key, describe_change(old[key], new[key])) for key in names if old[key] != new[key]
    ]:
        raise ConfigError(problems)
    stated = [
        Word(key, new[key], key)
        for key in new
        if key in composed.explicit and new[key] != old[key] and not isinstance(new[key], dict)
    ]
    return resume_run(composer, stated, str(folder))


def load_run_config(folder: Path) -> TrainConfig:
    """Return the config that a run left in its folder, read as data; see `fill_missing`.

    Raises:
        ConfigError: it is damaged, or states what a run folder may not.
    """
    path = folder / "config.yaml"
    try:
        saved = read_yaml(path)
    except ValueError as error:
        raise ConfigError([error]) from error
    check_saved(saved, relative(path))
    values = fill_missing(saved)
    config, problems = build_config(TrainConfig, values)
    problems += find_conflicts(config, problems)
    if problems:
        raise ConfigError(f"{relative(path)}: {problem}" for problem in problems)
    return config


def find_run(text: str) -> tuple[Path, Path]:
    """Return the folder and the checkpoint of the run that `resume=text` names, absolute paths.

    Args:
        text: a run folder, of which last.ckpt is meant, or the one before it where that is
            damaged; or a .ckpt within one.

    Raises:
        ValueError: a sentence that follows "resume: ".
    """
    path = Path(text).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"there is no {text}")
    folders = [path] if path.is_dir() else list(path.parents)
    folder = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if folder is None or (path.is_file() and path.suffix != ".ckpt"):
        raise ValueError(f"{text} is neither a run folder nor a .ckpt in one")
    if path.is_file():
        if not is_valid_checkpoint(path):
            raise ValueError(f"{text} is damaged; resume another checkpoint, or the run folder")
        return folder, path
    if checkpoint := find_newest_checkpoint(folder):
        return folder, checkpoint
    if (folder / LAST).exists():
        raise ValueError(f"{text}/{LAST} is damaged, with none before it; start the run anew")
    raise ValueError(f"{text} has no {LAST} to resume from; start the run anew")


def find_changes(before: TrainConfig, now: TrainConfig) -> Iterator[Problem]:
    """Yield what differs from the run that is resumed and may not."""
    old, new = flatten(to_dict(before)), flatten(to_dict(now))
    for key, value in new.items():
        if value == old[key] or isinstance(value, dict) or key.startswith(MAY_CHANGE):
            continue
        if key == "model.weights":
            yield Problem(key, "a resumed run has its own weights; give this or resume, not both")
        else:
            yield Problem(key, describe_change(old[key], value))


def describe_change(old: object, new: object) -> str:
    """Return the sentence for what may not change."""
    return f"{format_value(old)} in the resumed run, {format_value(new)} now; {MAY_CHANGE_TEXT}"


class _NoFiles(Files):
    """The files of a config that was read from a run folder."""

    def __init__(self) -> None:
        """Look at nothing."""

    def find(self, key: str) -> str:
        """Return "": the settings were stated by no file of choices."""
        return ""


NO_FILES = _NoFiles()
