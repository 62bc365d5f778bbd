"""What a command line of train.py asks for: new runs, a resumed run, the runs of a sweep."""

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mobilenets.config.checks import ConfigError, from_dict, to_dict
from mobilenets.config.compose import Composer, Composition, Source, check_configs
from mobilenets.config.pretrained import deep_update, settings_from_weights
from mobilenets.config.resume import resume_or_start, resume_run
from mobilenets.config.schema import TrainConfig
from mobilenets.config.words import Word
from mobilenets.run_folder import has_run, is_first_process, make_run_folder

JOB = "MOBILENETS_JOB"  # in the environment: the job of Lightning's other processes


class Job(NamedTuple):
    """A config, and the folder that it runs in.

    Attributes:
        created: the topmost folder that was made for it.
    """

    config: Any
    folder: Path
    created: Path | None = None

    def export(self) -> None:
        """Hand the job to the processes that Lightning will start."""
        content = {"config": to_dict(self.config), "folder": str(self.folder)}
        os.environ[JOB] = json.dumps(content)


def find_exported_job(environment: Mapping[str, str] = os.environ) -> Job | None:
    """Return the job of the process that started this one, None where this is the first."""
    if JOB not in environment or environment.get("LOCAL_RANK", "0") == "0":
        return None
    content = json.loads(environment[JOB])
    return Job(from_dict(TrainConfig, content["config"]), Path(content["folder"]))


def make_jobs(source: Source, texts: Iterable[str | Word], sweep: bool = False) -> list[Job]:
    """Return the runs that a command line asks for; each new one has a folder made for it.

    Raises:
        ConfigError: with all that is wrong, before anything is made.
        ValueError, OSError: from reading `model.weights`.
    """
    check_configs(source.name)
    composer = Composer(TrainConfig, source)
    alternatives = composer.parse(texts, sweep)
    given = [words[-1] for words in alternatives if words[0].key == "resume"]
    run = given[-1].value if given else None
    alternatives = [words for words in alternatives if words[0].key != "resume"]
    if run is None:
        jobs = itertools.product(*alternatives)
        return _start(composer, [composer.compose(list(job)) for job in jobs], sweep)
    if sweep:
        raise ConfigError(["resume: resumes one run, and --multirun makes several"])
    words = [words[0] for words in alternatives]
    if run != "auto":
        return [Job(*resume_run(composer, words, str(run)))]
    if resumed := resume_or_start(composer, words, _stated_folder(words)):
        return [Job(*resumed)]
    return _start(composer, [composer.compose(words)], sweep=False)


def _start(composer: Composer, composed: list[Composition | None], sweep: bool) -> list[Job]:
    """Return new runs, their folders made, once everything is found right."""
    if composer.problems:
        raise ConfigError(composer.problems)
    new = [_with_weights(one) for one in composed if one is not None]
    started = datetime.now()
    return [_make_folder(one, started, i if sweep else None) for i, one in enumerate(new)]


def _with_weights(composed: Composition) -> Composition:
    """Return the config with what the weights say that a new run starts from."""
    config = composed.config
    if config.model.weights is None:
        return composed
    found = settings_from_weights(config, composed.explicit)
    return composed._replace(config=from_dict(TrainConfig, deep_update(to_dict(config), found)))


def _make_folder(composed: Composition, started: datetime, number: int | None) -> Job:
    """Return the job of a new run, its folder made for it alone."""
    config, folders = composed.config, composed.folders
    time = f"{started:%Y-%m-%d_%H-%M-%S}"
    if number is None:
        stated = folders.get("hydra.run.dir")
        name = f"{config.model.name}_{config.model.width_mult}"
        folder = Path(stated) if stated else Path("runs", config.data.name, name, time)
    else:
        stated = folders.get("hydra.sweep.dir")
        sweep = Path(stated) if stated else Path("runs", "multirun", time)
        folder = sweep / folders.get("hydra.sweep.subdir", str(number))
    folder = folder.absolute()
    if not stated and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(["hydra.run.dir: needs a value, so that torchrun's processes share it"])
    if stated and is_first_process() and has_run(folder):
        raise ConfigError(
            [
                f"hydra.run.dir={folder} already holds a run: choose another folder, "
                f"or resume it with resume={folder}"
            ]
        )
    parents = [path for path in folder.parents if not path.exists()]
    is_new = not folder.exists()
    try:
        made = make_run_folder(folder, is_named=bool(stated))
        return Job(config, made, parents[-1] if parents else made if is_new else None)
    except OSError as error:
        raise ConfigError([f"hydra.run.dir: can't make {folder}: {error.strerror}"]) from error


def _stated_folder(words: list[Word]) -> Path | None:
    stated = [word.value for word in words if word.key == "hydra.run.dir"]
    if not stated or "${" in str(stated[-1]):
        return None
    return Path(stated[-1]).absolute()
