"""The frame around each script's `main`: its config before it, its errors after it."""

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
from mobilenets.config.checks import ConfigError, from_dict, to_dict
from mobilenets.config.compose import (
    CONFIGS,
    Command,
    Composition,
    Source,
    collect_paths,
    compose,
    explicit_settings,
    parse_override,
    quote,
    quote_plain_value,
    to_plain,
)
from mobilenets.config.help import format_help
from mobilenets.config.pretrained import deep_update, settings_from_weights, to_overrides
from mobilenets.config.resume import resume, resume_or_start
from mobilenets.config.schema import TrainConfig
from mobilenets.console import print_errors
from mobilenets.run_folder import (
    LAST,
    has_run,
    is_valid_checkpoint,
    lock_run_folder,
    make_run_folder,
)

log = logging.getLogger("mobilenets")

Main = Callable[[Any], Any]
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # torchrun's, Lightning's, SLURM's

_run_folder: Path | None = None
_command_line: list[str] = []  # as typed, before sys.argv is rewritten for Hydra and Lightning


def entry_point(
    name: str, cls: type, paths: str | None = None
) -> Callable[[Main], Callable[[], None]]:
    """Turn `main`, which takes a config of the dataclass `cls`, into a script.

    The values come from configs/`name`.yaml and the command line. All problems in them are listed
    before anything is created (exit code 2). A ValueError, OSError or ImportError in `main` is
    printed as one line, any other error with its traceback (1); HYDRA_FULL_ERROR=1 shows every
    traceback. Ctrl-C exits with 130, except during training, where
    `mobilenets.training.Checkpoints` handles signals.

    Args:
        paths: the setting that collects the words without =, taken literally.
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def script() -> None:
            if code := _run_script(main, name, cls, paths):
                sys.exit(code)

        return script

    return decorate


def run_folder() -> Path:
    """Return the absolute path of the current run's folder."""
    assert _run_folder is not None, "there is a run folder only within main"
    return _run_folder


def command_line() -> str:
    """Return the command that the user typed, quoted for a shell."""
    return shlex.join(["python", *_command_line])


def _run_script(main: Main, name: str, cls: type, paths: str | None) -> int:
    """Run what the command line asks for, and return the exit code."""
    _command_line[:] = [f"{name}.py", *sys.argv[1:]]
    args, rest = get_args_parser().parse_known_args()
    if args.hydra_help or args.info or args.shell_completion:
        _run_hydra(Source(CONFIGS, name), main)  # answers without calling `main`
        return 0
    try:
        command = _parse_command(args, rest, name, cls, paths)
        if args.help:
            print(format_help(cls, command))
            return 0
        complete = args.cfg is None
        composition = compose(cls, command, sweep=args.multirun, complete=complete)
        if complete and not args.multirun:
            command, composition = _add_settings_from_weights(command, composition)
            command = _add_run_folder(command, composition)
    except ConfigError as error:
        print_errors(*error.problems)
        return 2
    except Exception as error:  # from reading weights
        if not _is_user_error(error):
            raise
        print_errors(_format_error(error))
        return 1

    modes = {"--multirun": args.multirun, "--resolve": args.resolve}
    options = {"--cfg": args.cfg, "--package": args.package}
    sys.argv[1:] = [mode for mode, given in modes.items() if given]
    sys.argv += [word for option in options.items() if option[1] for word in option]
    sys.argv += [*command.source.hydra, *command.overrides]
    if cls is TrainConfig and not _is_main_process():
        sys.argv.append("hydra/job_logging=disabled")  # only the main process logs
    errors: list[Exception] = []
    try:
        _run_hydra(command.source, _make_job(main, cls, command.source, errors))
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns an interrupt that comes before its first step into an exit of its own.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
        return 130
    for failure in errors:
        if not _is_user_error(failure):
            raise failure
    return 1 if errors else 0


def _run_hydra(source: Source, job: Main) -> None:
    hydra.main(config_path=str(source.folder), config_name=source.name, version_base="1.3")(job)()


def _parse_command(
    args: Namespace, rest: list[str], name: str, cls: type, paths: str | None
) -> Command:
    """Return the source of the config and the overrides; a resumed run has its own source."""
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
        search.append(f"hydra.searchpath=[{quote(f'file://{added}')}]")
    folder = Path(args.config_path).absolute() if args.config_path else CONFIGS
    command = Command(Source(folder, args.config_name or name, tuple(search)), overrides)
    parsed = [item for item in map(parse_override, overrides) if item]
    resumed = [item.value() for item in parsed if item.key_or_group == "resume"]
    if cls is not TrainConfig or not resumed or resumed[-1] is None:
        return command
    if args.multirun:
        raise ConfigError(["resume: resumes one run, but --multirun starts several"])
    run = str(resumed[-1])
    return resume_or_start(command) if run == "auto" else resume(command, run)


def _add_settings_from_weights(
    command: Command, composition: Composition
) -> tuple[Command, Composition]:
    """Add the settings that follow from the weights that a new run starts from."""
    config, omega = composition
    if not _has_initial_weights(config):
        return command, composition
    added = to_overrides(settings_from_weights(config, explicit_settings(omega)))
    command = Command(command.source, [*command.overrides, *added])
    return command, compose(TrainConfig, command)


def _has_initial_weights(config: Any) -> bool:
    is_new_run = isinstance(config, TrainConfig) and config.resume is None
    return is_new_run and config.model.weights is not None


# The run folder


def _add_run_folder(command: Command, composition: Composition) -> Command:
    """Create the folder of a new run, and add it to the command."""
    config, omega = composition
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
    is_named = any(text.startswith("hydra.run.dir=") for text in command.overrides)
    if not is_named and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(["hydra.run.dir: needs a value, so that torchrun's processes share it"])
    if is_named and _is_main_process():
        _check_unused(folder)
    try:
        folder = make_run_folder(folder, is_named)
    except OSError as error:
        raise ConfigError([f"hydra.run.dir: can't create {folder}: {error.strerror}"]) from error
    return Command(command.source, [*command.overrides, f"hydra.run.dir={quote(folder)}"])


def _check_unused(folder: Path) -> None:
    if has_run(folder):
        raise ConfigError(
            [
                f"hydra.run.dir={folder} already contains a run: choose another folder, "
                f"or resume the run with resume={folder}"
            ]
        )


def _is_main_process() -> bool:
    """Whether this is the process of a run that writes its files."""
    return int(next((os.environ[rank] for rank in RANKS if rank in os.environ), 0)) == 0


def _prepare_run_folder(config: Any, source: Source, folder: Path) -> Path | None:
    """Remove partial files; write a new run's config.yaml and return its folder."""
    hydra_config = HydraConfig.get()
    if not isinstance(config, TrainConfig):
        return None
    # Lightning's ddp starts the other processes with this command line. It would add Hydra's
    # settings as it finds them, which are wrong for the job of a sweep.
    sys.argv[1:] = ["--config-path", str(source.folder), "--config-name", source.name]
    sys.argv += [*source.hydra, *hydra_config.overrides.task, f"hydra.run.dir={quote(folder)}"]
    HydraConfig.instance().cfg = None
    if not _is_main_process():
        return None
    remove_partial_files(folder)
    if config.resume is not None:
        if not is_valid_checkpoint(folder / LAST):
            log.warning(f"{folder / LAST} is damaged or missing: resuming from {config.resume}")
        return None
    _check_unused(folder)
    text = OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))
    (folder / "config.yaml").write_text(text, "utf-8")
    return folder


def _remove_empty_run(folder: Path) -> None:
    """Remove the folder of a run that failed before it saved anything."""
    names = ["config.yaml", "train.log"]
    if {path.name for path in folder.iterdir()} <= set(names):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


# The job


def _make_job(main: Main, cls: type, source: Source, errors: list[Exception]) -> Main:
    """Return what Hydra calls: `main` with its config; errors are appended to `errors`.

    Hydra would add its own text to an error, and a sweep continues with the next job.
    """
    process = os.getpid()

    @functools.wraps(main)
    def job(omega: DictConfig) -> Any:
        global _run_folder
        new_folder = None
        try:
            values = to_plain(omega, resolve=True)
            config: Any = from_dict(cls, values)
            if _has_initial_weights(config) and HydraConfig.get().mode == RunMode.MULTIRUN:
                explicit = explicit_settings(OmegaConf.create({"hydra": HydraConfig.get()}))
                added = settings_from_weights(config, explicit)
                config = from_dict(cls, deep_update(values, added))
            folder = _run_folder = Path(HydraConfig.get().runtime.output_dir)
            needs_lock = isinstance(config, TrainConfig) and _is_main_process()
            with lock_run_folder(folder) if needs_lock else nullcontext():
                new_folder = _prepare_run_folder(config, source, folder)
                return main(config)
        except Exception as error:
            if os.getpid() != process:  # started by a launcher, which needs the exception
                raise
            errors.append(error)
            if _is_user_error(error):
                print_errors(_format_error(error))
                if new_folder is not None:
                    _remove_empty_run(new_folder)

    return job


# Errors


def _is_user_error(error: Exception) -> bool:
    """Whether an error comes from the input or the machine and needs no traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return False
    # Lightning's, compared by name so that Lightning isn't imported here.
    by_name = type(error).__name__ == "MisconfigurationException"
    return by_name or isinstance(error, ValueError | OSError | ImportError)


def _format_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip()
