"""What happens around a command: the config before it, the log, its errors after it."""

import argparse
import functools
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.atomic import PARTIAL, remove_partial_files, write_text
from mobilenets.config.checks import ConfigError, to_dict
from mobilenets.config.compose import Source, compose, compose_jobs, to_plain, to_yaml
from mobilenets.config.help import format_help
from mobilenets.config.jobs import JOB, Job, find_exported_job, make_jobs
from mobilenets.config.schema import TrainConfig
from mobilenets.config.words import SEARCH_PATH, Word, collect_inputs, parse_search_path
from mobilenets.console import StderrHandler, StdoutHandler, print_errors, relative
from mobilenets.run_folder import (
    LAST,
    has_run,
    is_first_process,
    is_valid_checkpoint,
    lock_run_folder,
)

log = logging.getLogger("mobilenets")

Main = Callable[[Any], int | None]
Command = Callable[[list[str]], int]
CREATED = ("config.yaml", "train.log")  # what a run folder holds before the run has any result
INTERRUPTED = 130

_run_folder: Path | None = None
_typed: list[str] = []


def command(
    name: str,
    cls: type,
    *,
    primary: str | None = None,
    inputs: str | None = None,
    results: bool = False,
) -> Callable[[Main], Command]:
    """Make a command of `main`, which takes a config of the dataclass `cls`.

    The command takes the words after its name and returns the exit code. All problems of the words
    and the YAML files are listed before anything is made (2). A ValueError, OSError or ImportError
    of `main` is one line, any other error its traceback (1); HYDRA_FULL_ERROR=1 shows every
    traceback. Ctrl-C is 130; while it trains, a run answers signals itself
    (`mobilenets.training.Checkpoints`).

    Args:
        name: of the command; "train" makes runs, with a folder, a log and several processes.
        primary: the YAML file of the values; None = configs/`name`.yaml.
        inputs: the setting that gets the words without =, as they stand.
        results: standard output is for results alone, and messages go to standard error.
    """

    def decorate(main: Main) -> Command:
        @functools.wraps(main)
        def run(argv: list[str]) -> int:
            _typed[:] = [name, *argv]
            with _interruptible() as end:
                end.code = _run(Spec(main, name, cls, primary or name, inputs, results), argv)
            return end.code

        return run

    return decorate


def run_folder() -> Path:
    """Return the folder of the run that this process works on, as an absolute path."""
    assert _run_folder is not None, "there is a run folder only within a command"
    return _run_folder


def command_line() -> str:
    """Return what was typed, as a shell takes it."""
    name, *words = _typed
    called = ["python", f"{name}.py"] if call(name).startswith("python") else ["mobilenets", name]
    return shlex.join([*called, *words])


def call(name: str) -> str:
    """Return how a command is called: "python eval.py" beside train.py, else "mobilenets eval"."""
    door = Path(sys.argv[0]).with_name(f"{name}.py")
    if door.is_file():
        return f"python {relative(door)}"
    return f"mobilenets {name.replace('_', '-')}"


class Spec(NamedTuple):
    """What `command` was told."""

    main: Main
    name: str
    cls: type
    primary: str
    inputs: str | None
    results: bool

    @property
    def trains(self) -> bool:
        """Whether the command makes runs."""
        return self.name == "train"


def _run(spec: Spec, argv: list[str]) -> int:
    """Do what the words say; return the exit code."""
    if job := find_exported_job() if spec.trains else None:
        return _run_job(spec, job)
    try:
        flags, typed = _parse_flags(argv, spec.cls is TrainConfig)
        source, texts = _find_source(spec.primary, flags.config_dir, typed)
        words: list[str | Word] = [*texts]
        if spec.inputs:
            values, texts = collect_inputs(texts, spec.inputs)
            words = [*texts, *([Word(spec.inputs, values, spec.inputs)] if values else [])]
        if flags.help:
            print(format_help(spec.name, spec.cls, source, words))
            return 0
        if flags.cfg:
            omega = compose_jobs(spec.cls, source, words, complete=False)[0].omega
            print(to_yaml(to_plain(omega, flags.resolve)), end="")
            return 0
        if spec.trains:
            jobs = make_jobs(source, words, flags.multirun)
        else:
            jobs = [Job(compose(spec.cls, source, words).config, Path.cwd())]
    except ConfigError as error:
        if is_first_process():
            print_errors(*error.problems)
        return 2
    except Exception as error:  # from reading weights
        if not _is_mistake(error):
            raise
        print_errors(_describe(error))
        return 1
    codes, bugs = [], []
    for job in jobs:
        try:
            codes.append(_run_job(spec, job))
        except Exception as error:  # a bug; the other jobs of a sweep still run
            bugs.append(error)
    if bugs:
        raise bugs[0]
    return max(codes)


def _run_job(spec: Spec, job: Job) -> int:
    """Run a job; return the exit code."""
    global _run_folder
    config, folder, created = job
    _run_folder = folder
    writes = spec.trains and is_first_process()
    is_new = False
    try:
        with lock_run_folder(folder) if writes else nullcontext():
            if writes:
                is_new = not has_run(folder) and config.resume is None
                _enter(job, is_new)
            _log_to(folder if spec.trains else None, spec.results)
            return spec.main(config) or 0
    except (KeyboardInterrupt, SystemExit):
        if is_new:
            _remove_unused(folder, created)
        raise
    except Exception as error:
        if not _is_mistake(error):
            raise
        sentence = _describe(error)
        if not spec.trains or _claim(sentence, folder):
            print_errors(sentence)
        if is_new:
            _remove_unused(folder, created)
        return 1
    finally:
        if writes:
            os.environ.pop(JOB, None)


def _parse_flags(argv: list[str], composes: bool) -> tuple[argparse.Namespace, list[str]]:
    """Return the flags and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--cfg", choices=("job",))
    parser.add_argument("--resolve", action="store_true")
    if composes:
        parser.add_argument("--multirun", "-m", action="store_true")
        parser.add_argument("--config-dir")
    parser.set_defaults(multirun=False, config_dir=None)
    parser.error = _raise_problem  # type: ignore[method-assign, assignment]
    return parser.parse_known_args(argv)


def _raise_problem(message: str) -> None:
    raise ConfigError([message.removeprefix("argument ")])


def _find_source(name: str, config_dir: str | None, words: list[str]) -> tuple[Source, list[str]]:
    """Return where the YAML files are, and the words that don't say so."""
    folders = []
    if config_dir:
        folders.append(Path(config_dir).expanduser().absolute())
        if not folders[0].is_dir():
            raise ConfigError([f"--config-dir: there is no folder {config_dir}"])
    for text in [word for word in words if word.startswith(f"{SEARCH_PATH}=")]:
        folders += parse_search_path(text.partition("=")[2])
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise ConfigError([f"{SEARCH_PATH}: there is no folder {missing[0]}"])
    return Source(name, tuple(folders)), [w for w in words if not w.startswith(f"{SEARCH_PATH}=")]


# The run folder


def _enter(job: Job, is_new: bool) -> None:
    """Tidy up a run folder, write config.yaml into a new one, and tell ddp's processes of it."""
    config, folder, _ = job
    remove_partial_files(folder)
    if config.resume is not None:
        if not is_valid_checkpoint(folder / LAST):
            log.warning(f"{folder / LAST} is damaged or missing: resuming from {config.resume}")
    elif is_new:
        write_text(folder / "config.yaml", to_yaml(to_dict(config)))
    job.export()


def _remove_unused(folder: Path, created: Path | None) -> None:
    """Remove the folder of a run that ended before it had a result, up to what was there before."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(PARTIAL)}
    if names - set(CREATED):
        return
    remove_partial_files(folder)
    for name in CREATED:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # another run has come in between
        for path in (folder, *folder.parents) if created else ():
            path.rmdir()
            if path == created:
                return


def _claim(sentence: str, folder: Path) -> bool:
    """Return whether this process is the first of its run to say a sentence."""
    if "WORLD_SIZE" not in os.environ:  # there is no other
        return True
    name = f".{sha256(sentence.encode()).hexdigest()[:16]}{PARTIAL}"
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return is_first_process()
    return True


# The log


def _log_to(folder: Path | None, results: bool) -> None:
    """Send messages to the console and, with their time, to train.log in a run folder."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, StdoutHandler | logging.FileHandler):
            root.removeHandler(handler)
            handler.close()
    if folder and not is_first_process():
        return  # the first process speaks for all
    root.setLevel(logging.INFO)
    root.addHandler(StderrHandler() if results else StdoutHandler())
    if folder:
        file = logging.FileHandler(folder / "train.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(file)


# Errors


class _End:
    code = 0


@contextmanager
def _interruptible() -> Iterator[_End]:
    """Answer Ctrl-C with one word and its exit code."""
    end = _End()
    try:
        yield end
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        end.code = INTERRUPTED
    except SystemExit as stop:
        # Lightning turns an interrupt that comes before its first step into an exit of its own.
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print("interrupted", file=sys.stderr)
        end.code = INTERRUPTED


def _is_mistake(error: Exception) -> bool:
    """Return whether an error is one of the input or the machine, told without a traceback."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return False
    by_name = type(error).__name__ == "MisconfigurationException"  # Lightning's, not imported here
    return by_name or isinstance(error, ValueError | OSError | ImportError)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip()
