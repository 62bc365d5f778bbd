"""What happens around `main` in train.py and eval.py: the config before it, its errors after it."""

import functools
import logging
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser  # hydra.main's own; there is no public one
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobilenets.atomic import remove_partial_files
from mobilenets.config.checks import ConfigError, checked, to_dict
from mobilenets.config.compose import (
    CONFIGS,
    Command,
    Composed,
    Source,
    collect_paths,
    compose,
    explicit_settings,
    parsed,
    plain,
    quote_plain_value,
    quoted,
)
from mobilenets.config.help import help_text
from mobilenets.config.pretrained import as_overrides, deep_update, settings_from_weights
from mobilenets.config.resume import resume, resume_or_start
from mobilenets.config.schema import TrainConfig
from mobilenets.console import print_errors
from mobilenets.run_folder import (
    LAST,
    is_used,
    is_valid_checkpoint,
    lock_run_folder,
    make_run_folder,
)

log = logging.getLogger("mobilenets")

Main = Callable[[Any], Any]
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # torchrun's, Lightning's, SLURM's

_run_folder: Path | None = None
_typed: list[str] = []  # the command line, before Hydra and Lightning get theirs


def entry_point(
    name: str, cls: type, paths: str | None = None
) -> Callable[[Main], Callable[[], None]]:
    """Makes a script of `main`, which takes a config of the dataclass `cls`: configs/`name`.yaml.

    All problems of the command line and the config are listed before anything is made (exit code
    2). A ValueError, OSError or ImportError of `main` is one line, any other its traceback (1);
    HYDRA_FULL_ERROR=1 shows the traceback of all. Ctrl-C is 130, and while it trains a run answers
    signals itself (`mobilenets.training.Checkpoints`).

    Args:
        paths: the setting that gets the words without =, as they stand.
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def script() -> None:
            if code := _script(main, name, cls, paths):
                sys.exit(code)

        return script

    return decorate


def run_folder() -> Path:
    """The folder of the run that is going on, as an absolute path."""
    assert _run_folder is not None, "there is a run folder only within main"
    return _run_folder


def command_line() -> str:
    """What was typed, as a shell takes it."""
    return shlex.join(["python", *_typed])


def _script(main: Main, name: str, cls: type, paths: str | None) -> int:
    """Does what the command line says; returns the exit code."""
    _typed[:] = [f"{name}.py", *sys.argv[1:]]
    args, rest = get_args_parser().parse_known_args()
    if args.hydra_help or args.info or args.shell_completion:
        _hydra(Source(CONFIGS, name), main)  # does not get to `main`
        return 0
    try:
        command = _command(args, rest, name, cls, paths)
        if args.help:
            print(help_text(cls, command))
            return 0
        complete = args.cfg is None
        composed = compose(cls, command, sweep=args.multirun, complete=complete)
        if complete and not args.multirun:
            command, composed = _with_weights(command, composed)
            command = _with_folder(command, composed)
    except ConfigError as error:
        print_errors(*error.problems)
        return 2
    except Exception as error:  # from reading weights
        if not _is_mistake(error):
            raise
        print_errors(_sentence(error))
        return 1

    modes = {"--multirun": args.multirun, "--resolve": args.resolve}
    options = {"--cfg": args.cfg, "--package": args.package}
    sys.argv[1:] = [mode for mode, given in modes.items() if given]
    sys.argv += [word for option in options.items() if option[1] for word in option]
    sys.argv += [*command.source.hydra, *command.overrides]
    if cls is TrainConfig and not _is_first():
        sys.argv.append("hydra/job_logging=disabled")  # the first process speaks for all
    errors: list[Exception] = []
    try:
        _hydra(command.source, _job(main, cls, command.source, errors))
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns an interrupt that comes before its first step into an exit of its own.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
        return 130
    for failure in errors:
        if not _is_mistake(failure):
            raise failure
    return 1 if errors else 0


def _hydra(source: Source, job: Main) -> None:
    hydra.main(config_path=str(source.folder), config_name=source.name, version_base="1.3")(job)()


def _command(args: Namespace, rest: list[str], name: str, cls: type, paths: str | None) -> Command:
    """Where the config begins and the overrides, of a resumed run its own."""
    overrides = [*args.overrides, *rest]
    search = [text for text in overrides if text.startswith("hydra.searchpath=")]
    overrides = [text for text in overrides if text not in search]
    if cls is not TrainConfig:
        overrides = collect_paths(overrides, paths) if paths else overrides
        overrides = [quote_plain_value(text, cls) for text in overrides]
    if args.config_dir:
        added = Path(args.config_dir).absolute()
        if not added.is_dir():
            raise ConfigError([f"--config-dir: there is no folder {args.config_dir}"])
        search.append(f"hydra.searchpath=[{quoted(f'file://{added}')}]")
    folder = Path(args.config_path).absolute() if args.config_path else CONFIGS
    command = Command(Source(folder, args.config_name or name, tuple(search)), overrides)
    given = [item for item in map(parsed, overrides) if item and item.key_or_group == "resume"]
    if cls is not TrainConfig or not given or given[-1].value() is None:
        return command
    if args.multirun:
        raise ConfigError(["resume: goes on with one run, and --multirun makes several"])
    run = str(given[-1].value())
    return resume_or_start(command) if run == "auto" else resume(command, run)


def _with_weights(command: Command, composed: Composed) -> tuple[Command, Composed]:
    """The command with what the weights say that a new run starts from, and its config."""
    config, omega = composed
    if not _starts_from_weights(config):
        return command, composed
    added = as_overrides(settings_from_weights(config, explicit_settings(omega)))
    command = Command(command.source, [*command.overrides, *added])
    return command, compose(TrainConfig, command)


def _starts_from_weights(config: Any) -> bool:
    new_run = isinstance(config, TrainConfig) and config.resume is None
    return new_run and config.model.weights is not None


# The run folder


def _with_folder(command: Command, composed: Composed) -> Command:
    """The command with the run's folder, made for it alone; eval.py and a resumed run need none."""
    config, omega = composed
    if not isinstance(config, TrainConfig) or config.resume is not None:
        return command
    omega.merge_with(to_dict(config))  # width_mult=1 is 1.0 in the folder's name
    HydraConfig.instance().set_config(omega)  # for ${hydra:...}
    try:
        folder = Path(OmegaConf.select(omega, "hydra.run.dir")).absolute()
    except OmegaConfBaseException as error:
        raise ConfigError([f"hydra.run.dir: {str(error).splitlines()[0]}"]) from error
    finally:
        HydraConfig.instance().cfg = None
    named = any(text.startswith("hydra.run.dir=") for text in command.overrides)
    if not named and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(["hydra.run.dir: needs a value, so that torchrun's processes share it"])
    if named and _is_first():
        _refuse_used(folder)
    try:
        folder = make_run_folder(folder, anew=not named)
    except OSError as error:
        raise ConfigError([f"hydra.run.dir: can't make {folder}: {error.strerror}"]) from error
    return Command(command.source, [*command.overrides, f"hydra.run.dir={quoted(folder)}"])


def _refuse_used(folder: Path) -> None:
    if is_used(folder):
        raise ConfigError(
            [
                f"hydra.run.dir={folder} already holds a run: choose another folder, "
                f"or go on with resume={folder}"
            ]
        )


def _is_first() -> bool:
    """Whether this is the process of a run that writes its files."""
    return int(next((os.environ[rank] for rank in RANKS if rank in os.environ), 0)) == 0


# The job


def _job(main: Main, cls: type, source: Source, errors: list[Exception]) -> Main:
    """What Hydra runs: `main` with its config. Its errors go to `errors`, to be raised later.

    Hydra would put words of its own around them, and sweeps go on with the next job.
    """
    process = os.getpid()

    @functools.wraps(main)
    def job(omega: DictConfig) -> Any:
        global _run_folder
        made = None
        try:
            values = plain(omega, resolve=True)
            config: Any = checked(cls, values)
            if _starts_from_weights(config) and HydraConfig.get().mode == RunMode.MULTIRUN:
                hydras = OmegaConf.create({"hydra": HydraConfig.get()})
                config = checked(
                    cls,
                    deep_update(values, settings_from_weights(config, explicit_settings(hydras))),
                )
            folder = _run_folder = Path(HydraConfig.get().runtime.output_dir)
            trains = isinstance(config, TrainConfig) and _is_first()
            with lock_run_folder(folder) if trains else nullcontext():
                made = _entered(config, source, folder)
                return main(config)
        except Exception as error:
            if os.getpid() != process:  # of a launcher, which has to see it
                raise
            errors.append(error)
            if _is_mistake(error):
                print_errors(_sentence(error))
                if made is not None:
                    _leave_nothing(made)

    return job


def _entered(config: Any, source: Source, folder: Path) -> Path | None:
    """Tidies up a run folder and writes config.yaml into a new one, which is returned."""
    hydras = HydraConfig.get()
    if not isinstance(config, TrainConfig):
        return None
    # Lightning's ddp starts the other processes with this command line, to which it adds what it
    # finds of Hydra's settings: the wrong ones for the job of a sweep.
    sys.argv[1:] = ["--config-path", str(source.folder), "--config-name", source.name]
    sys.argv += [*source.hydra, *hydras.overrides.task, f"hydra.run.dir={quoted(folder)}"]
    HydraConfig.instance().cfg = None
    if not _is_first():
        return None
    remove_partial_files(folder)
    if config.resume is not None:
        if not is_valid_checkpoint(folder / LAST):
            log.warning(f"{folder / LAST} is damaged or gone: the run goes on from {config.resume}")
        return None
    _refuse_used(folder)
    text = OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))
    (folder / "config.yaml").write_text(text, "utf-8")
    return folder


def _leave_nothing(folder: Path) -> None:
    """Takes away the folder of a run that ended before it had anything to keep."""
    ours = ["config.yaml", "train.log"]
    if {path.name for path in folder.iterdir()} <= set(ours):
        for name in ours:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


# Errors


def _is_mistake(error: Exception) -> bool:
    """Whether an error is one of the input or the machine, to be told without a traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return False
    by_name = type(error).__name__ == "MisconfigurationException"  # Lightning's, not imported here
    return by_name or isinstance(error, ValueError | OSError | ImportError)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip()
