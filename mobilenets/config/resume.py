"""Resume a run: find the one that `resume` names, and check that only some settings change."""

from collections.abc import Iterator
from pathlib import Path

from mobilenets.config.checks import ConfigError, Problem, flatten, list_groups, to_dict
from mobilenets.config.compose import (
    CONFIGS,
    Command,
    Source,
    compose,
    explicit_settings,
    parse_override,
    quote,
    to_plain,
    try_compose,
)
from mobilenets.config.pretrained import to_overrides
from mobilenets.config.saved import fill_missing
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import format_value
from mobilenets.run_folder import LAST, PREVIOUS, find_newest_checkpoint, is_valid_checkpoint

MAY_CHANGE = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("data.root", "data.num_workers", "data.download", "data.verify"),
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    *("checkpoint.", "hardware.", "resume"),
)
MAY_CHANGE_TEXT = (
    "only the length of the run, devices, workers, logging and the place of the data may change"
)
HYDRA = ("hydra/output=runs", "hydra/job_logging=runs", "hydra.output_subdir=null")  # train.yaml's


def resume(command: Command, run: str) -> Command:
    """Return the command that resumes `run`: its own config.yaml, changed by the overrides.

    Raises:
        ConfigError: there is no such run, or a setting differs that may not change.
    """
    try:
        folder, checkpoint = find_run(run)
    except ValueError as error:
        others = [text for text in command.overrides if not text.startswith("resume=")]
        problems = try_compose(TrainConfig, Command(command.source, others))[1]
        raise ConfigError([Problem("resume", str(error)), *problems]) from error
    source = source_of_run(folder)
    added = settings_added_since(source)
    before = compose(TrainConfig, Command(source, added)).config

    problems, overrides = [], [*added]
    for text in command.overrides:
        override = parse_override(text)
        key, value = (override.key_or_group, override.value()) if override else ("", None)
        if key in ("experiment", "trainer", *list_groups(TrainConfig)) and not isinstance(
            value, dict
        ):
            if value != getattr(getattr(before, key, None), "name", None):
                problems.append(Problem(text, "a resumed run keeps its choices; leave it out"))
        elif key == "hydra.run.dir" and Path(str(value)).absolute() != folder:
            problems.append(Problem(key, "a resumed run stays in its folder; leave it out"))
        elif key != "resume":
            overrides.append(text)
    overrides += [f"resume={quote(checkpoint)}", f"hydra.run.dir={quote(folder)}"]
    resumed = Command(source, overrides)
    composition, found = try_compose(TrainConfig, resumed)
    problems += found
    if composition is not None:
        invalid = {problem.key for problem in found}
        changes = find_changes(before, composition.config)
        problems += [change for change in changes if change.key not in invalid]
    if problems:
        raise ConfigError(problems)
    return resumed


def resume_or_start(command: Command) -> Command:
    """Return the command for `resume=auto`: resume the run in hydra.run.dir, or start it there.

    The user repeats the command that started the run. A run that exists keeps its config; what the
    command sets differently is checked like the overrides of `resume`.

    Raises:
        ConfigError: the folder isn't given, or a setting differs that may not change.
    """
    others = [text for text in command.overrides if not text.startswith("resume=")]
    overrides = [item for item in map(parse_override, others) if item]
    folders = [item.value() for item in overrides if item.key_or_group == "hydra.run.dir"]
    if not folders or "${" in str(folders[-1]):
        raise ConfigError([Problem("resume", "auto needs a fixed run folder: hydra.run.dir=DIR")])
    folder = Path(str(folders[-1])).absolute()
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        return Command(command.source, others)

    config, omega = compose(TrainConfig, Command(command.source, others))
    source = source_of_run(folder)
    before = compose(TrainConfig, Command(source, settings_added_since(source))).config
    old, new = flatten(to_dict(before)), flatten(to_dict(config))
    choices = [f"{group}.name" for group in list_groups(TrainConfig)]
    if problems := [
        Problem(key, describe_change(old[key], new[key])) for key in choices if old[key] != new[key]
    ]:
        raise ConfigError(problems)
    changed = {
        key: new[key]
        for key in explicit_settings(omega)
        if key in new and new[key] != old[key] and not isinstance(new[key], dict)
    }
    return resume(Command(command.source, to_overrides(changed)), str(folder))


def source_of_run(folder: Path) -> Source:
    """Return the source of a run's config: its own config.yaml."""
    search = f"hydra.searchpath=[{quote(f'file://{CONFIGS}')}]"
    return Source(folder, "config", (search, *HYDRA))


def settings_added_since(source: Source) -> list[str]:
    """Return overrides that set what a run's config.yaml lacks: the settings added since."""
    composition, _ = try_compose(TrainConfig, Command(source, []))
    if composition is None:
        return []
    saved = to_plain(composition.omega)
    old, new = flatten(saved), flatten(fill_missing(saved))
    added = {k: v for k, v in new.items() if k not in old and not isinstance(v, dict)}
    return [f"++{text}" for text in to_overrides(added)]


def find_run(text: str) -> tuple[Path, Path]:
    """Return the folder and the checkpoint of the run that `resume=text` names, both absolute.

    Args:
        text: a run folder, for its last.ckpt, or previous.ckpt if that is damaged; or a .ckpt in
            a run folder.

    Raises:
        ValueError: there is no such run; the message follows "resume: ".
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
            raise ValueError(
                f"{text} is damaged; resume from another checkpoint or from the run folder"
            )
        return folder, path
    if checkpoint := find_newest_checkpoint(folder):
        return folder, checkpoint
    if (folder / LAST).exists():
        raise ValueError(f"{text}/{LAST} is damaged and no earlier one is left; start a new run")
    raise ValueError(f"{text} has no {LAST} to resume from; start a new run")


def find_changes(before: TrainConfig, now: TrainConfig) -> Iterator[Problem]:
    """Yield a problem for each setting that differs from the resumed run and may not change."""
    old, new = flatten(to_dict(before)), flatten(to_dict(now))
    for key, value in new.items():
        if value == old[key] or isinstance(value, dict) or key.startswith(MAY_CHANGE):
            continue
        if key == "model.weights":
            yield Problem(key, "a resumed run has its own weights; set this or resume, not both")
        else:
            yield Problem(key, describe_change(old[key], value))


def describe_change(old: object, new: object) -> str:
    """Return the sentence for a setting that may not change."""
    old_text, new_text = format_value(old), format_value(new)
    return f"{old_text} in the resumed run, {new_text} now; {MAY_CHANGE_TEXT}"
