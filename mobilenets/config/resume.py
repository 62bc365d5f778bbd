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
    flat,
    parsed,
    plain,
    quoted,
)
from mobilenets.config.pretrained import as_overrides
from mobilenets.config.saved import completed
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import show

MAY_CHANGE = (
    *("trainer.", "hardware.", "resume"),
    *("data.root", "data.num_workers", "data.download", "data.verify"),
)
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
    search = f"hydra.searchpath=[{quoted(f'file://{CONFIGS}')}]"
    source = Source(folder, "config", (search, *HYDRA))
    added = since(source)
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


def since(source: Source) -> list[str]:
    """Overrides that set what a run's config lacks: the settings that came after it began."""
    composed, _ = attempt(TrainConfig, Command(source, []))
    if composed is None:
        return []
    saved = plain(composed.omega)
    old, new = flat(saved), flat(completed(saved))
    added = {k: v for k, v in new.items() if k not in old and not isinstance(v, dict)}
    return [f"++{text}" for text in as_overrides(added)]


def find_run(text: str) -> tuple[Path, Path]:
    """The folder and the checkpoint of the run that `resume=text` names, as absolute paths.

    Args:
        text: a run folder, of which last.ckpt is meant, or a .ckpt within one.

    Raises:
        ValueError: in words that follow "resume: ".
    """
    path = Path(text).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"there is no {text}")
    checkpoint = path / "last.ckpt" if path.is_dir() else path
    folders = [path] if path.is_dir() else list(path.parents)
    folder = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if folder is None or checkpoint.suffix != ".ckpt":
        raise ValueError(f"{text} is no run folder, and no .ckpt in one")
    if not checkpoint.is_file():
        raise ValueError(f"{text} has no last.ckpt to go on from; start the run anew")
    return folder, checkpoint


def changes(before: TrainConfig, now: TrainConfig) -> Iterator[Problem]:
    """What differs from the run that is resumed and may not."""
    old, new = flat(to_dict(before)), flat(to_dict(now))
    for key, value in new.items():
        if value == old[key] or isinstance(value, dict) or key.startswith(MAY_CHANGE):
            continue
        if key == "model.weights":
            yield Problem(key, "a resumed run has its own weights; give this or resume, not both")
        else:
            change = f"{show(old[key])} in the resumed run, {show(value)} now"
            yield Problem(
                key, f"{change}; only trainer.*, hardware.* and where the data is may change"
            )
