"""A run that goes on: which one `resume` names, and what may differ from before."""

from collections.abc import Iterator
from pathlib import Path

from mobilenets.config.checks import ConfigError, Problem, chosen, to_dict
from mobilenets.config.compose import (
    CONFIGS,
    Command,
    Source,
    attempt,
    compose,
    explicit_settings,
    flat,
    parsed,
    plain,
    quoted,
)
from mobilenets.config.pretrained import as_overrides
from mobilenets.config.saved import fill_missing
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import show
from mobilenets.run_folder import LAST, PREVIOUS, find_newest, is_valid_checkpoint

MAY_CHANGE = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time"),
    *("data.root", "data.num_workers", "data.download", "data.verify"),
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    *("checkpoint.", "hardware.", "resume"),
)
MAY = "only the length of the run, devices, workers, logging and where the data is may change"
HYDRA = ("hydra/output=runs", "hydra/job_logging=runs", "hydra.output_subdir=null")  # train.yaml's


def resume(command: Command, run: str) -> Command:
    """The command that goes on with `run`: its own config.yaml, and the overrides over that.

    Raises:
        ConfigError: there is no such run, or something differs that may not.
    """
    try:
        folder, checkpoint = find_run(run)
    except ValueError as error:
        others = [text for text in command.overrides if not text.startswith("resume=")]
        problems = attempt(TrainConfig, Command(command.source, others))[1]
        raise ConfigError([Problem("resume", str(error)), *problems]) from error
    source = run_source(folder)
    added = settings_added_since(source)
    before = compose(TrainConfig, Command(source, added)).config

    problems, overrides = [], [*added]
    for text in command.overrides:
        override = parsed(text)
        key, value = (override.key_or_group, override.value()) if override else ("", None)
        if key in ("experiment", "trainer", *chosen(TrainConfig)) and not isinstance(value, dict):
            if value != getattr(getattr(before, key, None), "name", None):
                problems.append(Problem(text, "the resumed run has made its choices; leave it out"))
        elif key == "hydra.run.dir" and Path(str(value)).absolute() != folder:
            problems.append(Problem(key, "the resumed run stays in its folder; leave it out"))
        elif key != "resume":
            overrides.append(text)
    overrides += [f"resume={quoted(checkpoint)}", f"hydra.run.dir={quoted(folder)}"]
    resumed = Command(source, overrides)
    composed, found = attempt(TrainConfig, resumed)
    problems += found
    if composed is not None:
        wrong = {problem.key for problem in found}
        problems += [
            change for change in changes(before, composed.config) if change.key not in wrong
        ]
    if problems:
        raise ConfigError(problems)
    return resumed


def resume_or_start(command: Command) -> Command:
    """What `resume=auto` asks for: to go on with the run in hydra.run.dir, or a new one there.

    The command is that of the new run, the same each time. What it asks for is compared with what
    the run has; the rest of its config it keeps.

    Raises:
        ConfigError: the folder isn't given, or something differs that may not.
    """
    others = [text for text in command.overrides if not text.startswith("resume=")]
    given = [item for item in map(parsed, others) if item and item.key_or_group == "hydra.run.dir"]
    if not given or "${" in str(given[-1].value()):
        raise ConfigError([Problem("resume", "auto needs hydra.run.dir, a folder by its name")])
    folder = Path(str(given[-1].value())).absolute()
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        return Command(command.source, others)

    config, omega = compose(TrainConfig, Command(command.source, others))
    source = run_source(folder)
    before = compose(TrainConfig, Command(source, settings_added_since(source))).config
    old, new = flat(to_dict(before)), flat(to_dict(config))
    names = [f"{section}.name" for section in chosen(TrainConfig)]
    if problems := [
        Problem(key, changed(old[key], new[key])) for key in names if old[key] != new[key]
    ]:
        raise ConfigError(problems)
    asked = {
        key: new[key] for key in explicit_settings(omega) if key in new and new[key] != old[key]
    }
    asked = {key: value for key, value in asked.items() if not isinstance(value, dict)}
    return resume(Command(command.source, as_overrides(asked)), str(folder))


def run_source(folder: Path) -> Source:
    """Where the config of a run begins: in its own config.yaml."""
    search = f"hydra.searchpath=[{quoted(f'file://{CONFIGS}')}]"
    return Source(folder, "config", (search, *HYDRA))


def settings_added_since(source: Source) -> list[str]:
    """Overrides that set what a run's config lacks: the settings that came after it began."""
    composed, _ = attempt(TrainConfig, Command(source, []))
    if composed is None:
        return []
    saved = plain(composed.omega)
    old, new = flat(saved), flat(fill_missing(saved))
    added = {k: v for k, v in new.items() if k not in old and not isinstance(v, dict)}
    return [f"++{text}" for text in as_overrides(added)]


def find_run(text: str) -> tuple[Path, Path]:
    """The folder and the checkpoint of the run that `resume=text` names, as absolute paths.

    Args:
        text: a run folder, of which last.ckpt is meant, or the one before it where that is
            damaged; or a .ckpt within one.

    Raises:
        ValueError: in words that follow "resume: ".
    """
    path = Path(text).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"there is no {text}")
    folders = [path] if path.is_dir() else list(path.parents)
    folder = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if folder is None or (path.is_file() and path.suffix != ".ckpt"):
        raise ValueError(f"{text} is no run folder, and no .ckpt in one")
    if path.is_file():
        if not is_valid_checkpoint(path):
            raise ValueError(f"{text} is damaged; go on from another, or with the run folder")
        return folder, path
    if checkpoint := find_newest(folder):
        return folder, checkpoint
    if (folder / LAST).exists():
        raise ValueError(f"{text}/{LAST} is damaged, with none before it; start the run anew")
    raise ValueError(f"{text} has no {LAST} to go on from; start the run anew")


def changes(before: TrainConfig, now: TrainConfig) -> Iterator[Problem]:
    """What differs from the run that is resumed and may not."""
    old, new = flat(to_dict(before)), flat(to_dict(now))
    for key, value in new.items():
        if value == old[key] or isinstance(value, dict) or key.startswith(MAY_CHANGE):
            continue
        if key == "model.weights":
            yield Problem(key, "a resumed run has its own weights; give this or resume, not both")
        else:
            yield Problem(key, changed(old[key], value))


def changed(old: object, new: object) -> str:
    """The sentence for what may not change."""
    return f"{show(old)} in the resumed run, {show(new)} now; {MAY}"
