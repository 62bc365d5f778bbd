"""A command line -> configs: Hydra composes the choices once, settings are laid over as data."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobilenets.choices import describe_unknown
from mobilenets.config.checks import (
    NEEDS_VALUE,
    ConfigError,
    Problem,
    build_config,
    explain_unknown,
    find_conflicts,
    flatten,
    iter_settings,
    join_key,
    list_groups,
    list_keys,
)
from mobilenets.config.groups import CHOICES
from mobilenets.config.words import FOLDERS, Grammar, Word, is_list
from mobilenets.config.yaml_files import check_foreign, list_foreign_files, read_yaml
from mobilenets.console import relative

IN_WHEEL = Path(__file__).parents[1] / "configs"
CONFIGS = IN_WHEEL if IN_WHEEL.is_dir() else Path(__file__).parents[2] / "configs"
# OmegaConf's resolver of environment variables, and what could spell its name.
SECRET = re.compile(r"\$\{\s*(oc\.env|[^}]*\$\{)")
NO_SECRETS = (
    "the value of ${{oc.env:...}} would be written to the run folder; if it is not a secret, "
    'pass the value itself, as in {key}="$NAME"'
)
REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)


class Source(NamedTuple):
    """The primary YAML file of a command, in `CONFIGS`, and folders with more choices."""

    name: str
    folders: tuple[Path, ...] = ()


class Composition(NamedTuple):
    """A config, the settings that were stated for it, and the folders of its run.

    Attributes:
        config: the dataclass.
        explicit: the settings that the command line or an experiment states.
        folders: hydra.run.dir and the like, as far as they were given.
        omega: the values with their ${...}.
    """

    config: Any
    explicit: set[str]
    folders: dict[str, str]
    omega: DictConfig


class Composer:
    """Composes the configs of a command; collects what is wrong with them.

    Args:
        cls: the dataclass of the config.
        source: where the YAML files are.
    """

    def __init__(self, cls: type, source: Source) -> None:
        self.cls = cls
        self.source = source
        self.number = 0  # of the next job
        self.problems: list[Problem] = []
        kinds = [(key, kind) for key, kind, _ in list_settings(cls)]
        sweeps = bool(list_groups(cls))  # there a comma separates the jobs of --multirun
        self.grammar = Grammar(
            groups=dict(list_group_choices(source.folders)),
            texts={key for key, kind in kinds if kind in (str, str | None)},
            lists=set() if sweeps else {key for key, kind in kinds if is_list(kind)},
        )

    def parse(self, texts: Iterable[str | Word], sweep: bool = False) -> list[list[Word]]:
        """Return for each word its setting, of a sweep all that it may be."""
        words = []
        for text in texts:
            if isinstance(text, Word):
                words.append([text])
                continue
            try:
                words.append(self.grammar.parse(text, sweep))
            except ValueError as error:
                self.problems.append(Problem(text, str(error)))
        return words

    def compose(self, words: list[Word]) -> Composition | None:
        """Return the config of one job, None if there is none."""
        picks = [word for word in words if self.is_choice(word)]
        others = [word for word in words if word not in picks and word.key not in FOLDERS]
        lost = [pick.key for pick in picks if not self.exists(pick)]
        picks = [pick for pick in picks if pick.key not in lost]
        omega = self.compose_choices(picks)
        if omega is None:
            return None
        # Nothing can be said of sections whose choice is unknown.
        sections = list_groups(self.cls) if "experiment" in lost else lost
        unsure = tuple(f"{name}." for name in sections)
        others = [word for word in others if not word.key.startswith(unsure)]
        values = to_plain(omega)
        others = [word for word in others if self.is_setting(word, values)]
        files = Files(self.source, picks)
        config, problems = self.build_config(omega, others, files)
        if not lost and config is not None:
            self.problems += find_conflicts(config, problems)
        explicit = {key for word in others for key in flatten({word.key: word.value})}
        folders = {word.key: self.resolve(omega, word) for word in words if word.key in FOLDERS}
        self.number += 1
        if any(pick.key == "experiment" for pick in picks):
            explicit |= files.stated_by_experiments
        return Composition(config, explicit, folders, omega)

    def is_choice(self, word: Word) -> bool:
        """Return whether a word picks a choice of a group."""
        return word.key in self.grammar.groups and not isinstance(word.value, dict)

    def exists(self, pick: Word) -> bool:
        """Return whether the choice of a group exists."""
        known = self.grammar.groups[pick.key]
        for name in pick.value if isinstance(pick.value, list) else [pick.value]:
            optional = pick.key == "experiment" and name is None
            if str(name) not in known and not optional:
                shown = "null" if name is None else name
                self.add(f"{pick.key}={shown}", describe_unknown(name, known))
                return False
        return True

    def is_setting(self, word: Word, values: dict[str, Any]) -> bool:
        """Return whether there is such a setting, and it may be set by itself."""
        known, value = set(list_keys(self.cls, values)), word.value
        nested = flatten(value, f"{word.key}.") if isinstance(value, dict) else {}
        for key in (word.key, *nested):
            section = key.removesuffix(".name")
            if key not in known:
                self.add(key, explain_unknown(key, self.cls, values))
                return False
            if section != key:
                self.add(key, f"is chosen with {section}={nested.get(key, value)}")
                return False
        return True

    def compose_choices(self, picks: list[Word]) -> DictConfig | None:
        """Return what Hydra composes of the YAML files, None if it refuses."""
        names = [
            f"{pick.key}/{name}"
            for pick in picks
            for name in (pick.value if isinstance(pick.value, list) else [pick.value])
            if not (CONFIGS / pick.key / f"{name}.yaml").is_file()
        ]
        try:
            for path in list_foreign_files(names, self.source.folders):
                check_foreign(path)
            words = tuple(map(_as_override, picks))
            if self.source.folders:
                return _compose_files(CONFIGS, self.source, words)
            return OmegaConf.create(_compose_own(CONFIGS, self.source, words))
        except REFUSALS as error:
            self.problems.append(self.explain(error, picks))
            return None

    def build_config(
        self, omega: DictConfig, words: list[Word], files: "Files"
    ) -> tuple[Any, list[Problem]]:
        """Lay settings over what Hydra composed; return the config and what is wrong with it."""
        for word in words:
            OmegaConf.update(omega, word.key, word.value, force_add=True)
        written = flatten(to_plain(omega))
        leaves = {key: v for key, v in written.items() if not isinstance(v, Mapping)}
        if secret := [key for key, value in leaves.items() if SECRET.search(str(value))]:
            self.problems += [Problem(key, NO_SECRETS.format(key=key)) for key in secret]
            return None, []
        try:
            values = to_plain(omega, resolve=True)
        except OmegaConfBaseException as error:
            self.add(str(error.full_key), str(error.msg).splitlines()[0])
            return None, []
        config: Any
        config, problems = build_config(self.cls, values)
        wrong = {problem.key for problem in problems}
        stated = {word.key for word in words}
        for key, text in problems:
            if str(written.get(key))[2:-1] in wrong:
                continue  # "${data.strides}" repeats what is wrong there
            if any(problem.key.startswith(f"{key}=") for problem in self.problems):
                continue  # it is given, in a form that can't be read
            if key == "experiment":
                text = "its file has to begin with: # @package _global_"
            here = any(f"{key}.".startswith(f"{other}.") for other in stated)
            place = "" if here or text.startswith(NEEDS_VALUE) else files.find(key)
            self.add(place + key, text)
        return config, problems

    def resolve(self, omega: DictConfig, word: Word) -> str:
        """Return the text of a folder, its ${...} filled in."""
        if "${" not in str(word.value):
            return str(word.value)
        try:
            job = {"hydra": {"job": {"num": self.number}}, "folder": word.value}
            return str(
                OmegaConf.select(OmegaConf.merge(OmegaConf.create(to_plain(omega)), job), "folder")
            )
        except OmegaConfBaseException as error:
            self.add(word.key, str(error).splitlines()[0])
            return ""

    def explain(self, error: Exception, picks: list[Word]) -> Problem:
        """Return in one sentence why Hydra could not compose a config."""
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            mark = error.problem_mark
            return Problem(f"{relative(Path(mark.name))}, line {mark.line + 1}", str(error.problem))
        text = " ".join(
            str(part).partition("\n")[0] for part in (error, error.__cause__) if part is not None
        )
        place, text = re.fullmatch(r"(?:In '(.+?)': )?(.*)", text).groups()  # type: ignore[union-attr]
        if isinstance(error, MissingConfigException) and error.options:
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            text = f"{group}={name}: {describe_unknown(name, list(error.options))}"
            experiments = [pick.value for pick in picks if pick.key == "experiment"]
            if experiments and place == self.source.name:  # Hydra names the file overridden
                place = f"experiment/{experiments[-1]}"
        if place in (None, self.source.name, "hydra/config"):
            return Problem("", text)
        paths = [folder / f"{place}.yaml" for folder in (*self.source.folders, CONFIGS)]
        found = next((relative(path) for path in paths if path.is_file()), f"{place}.yaml")
        return Problem(found, text)

    def add(self, key: str, text: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(key, text))


def compose(cls: type, source: Source, texts: Iterable[str | Word]) -> Composition:
    """Return the one config that words ask for.

    Raises:
        ConfigError: with all that is wrong with the words and the YAML files.
    """
    return compose_jobs(cls, source, texts)[0]


def compose_jobs(
    cls: type,
    source: Source,
    texts: Iterable[str | Word],
    *,
    sweep: bool = False,
    complete: bool = True,
) -> list[Composition]:
    """Return the config of each job: of a sweep one for every combination of its values.

    Args:
        complete: False lets values be missing that have to be given.

    Raises:
        ConfigError: with all that is wrong with the words and the YAML files.
    """
    check_configs(source.name)
    composer = Composer(cls, source)
    words = composer.parse(texts, sweep)
    jobs = [composer.compose(list(job)) for job in itertools.product(*words)]
    problems = composer.problems
    if not complete:
        problems = [problem for problem in problems if not problem.text.startswith(NEEDS_VALUE)]
    if problems:
        raise ConfigError(problems)
    return [job for job in jobs if job is not None]


def _compose_files(configs: Path, source: Source, words: tuple[str, ...]) -> DictConfig:
    """Return what Hydra composes of YAML files."""
    folders = ",".join(_quote(f"file://{folder}") for folder in source.folders)
    search = [f"hydra.searchpath=[{folders}]"] * bool(folders)
    with hydra.initialize_config_dir(str(configs), source.name, "1.3"):
        return hydra.compose(source.name, [*search, *words])


@lru_cache
def _compose_own(configs: Path, source: Source, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the same of our own files alone, once for all jobs with these choices."""
    return to_plain(_compose_files(configs, source, words))


def check_configs(name: str) -> None:
    """Raise ConfigError unless the primary YAML file is installed."""
    if not (CONFIGS / f"{name}.yaml").is_file():
        raise ConfigError(
            [f"there is no {CONFIGS / name}.yaml: install mobilenets again (pip install -e .)"]
        )


class Files:
    """The YAML files that a config was composed from, looked at only when somebody asks.

    Args:
        source: the primary file and the folders with more choices.
        picks: the choices that were made.
    """

    def __init__(self, source: Source, picks: list[Word]) -> None:
        self.source = source
        self.picks = picks

    @cached_property
    def stated(self) -> dict[str, Path]:
        """The last file that states each setting."""
        stated: dict[str, Path] = {}
        folders = (CONFIGS, *self.source.folders)
        with hydra.initialize_config_dir(str(CONFIGS), self.source.name, "1.3"):
            loader = GlobalHydra.instance().config_loader()
            search = ",".join(_quote(f"file://{folder}") for folder in self.source.folders)
            words = [f"hydra.searchpath=[{search}]"] * bool(search)
            words += map(_as_override, self.picks)
            listed = loader.compute_defaults_list(self.source.name, words, RunMode.RUN).defaults
        for default in listed:
            paths = [folder / f"{default.config_path}.yaml" for folder in folders]
            for path in [path for path in paths if path.is_file()][:1]:
                section = f"{default.package}." if default.package else ""
                stated |= dict.fromkeys(flatten(read_yaml(path), section), path)
        return stated

    @property
    def stated_by_experiments(self) -> set[str]:
        """The settings that an experiment states."""
        return {key for key, path in self.stated.items() if path.parent.name == "experiment"}

    def find(self, key: str) -> str:
        """Return the file that states a setting, as the beginning of a sentence, or ""."""
        path = self.stated.get(key)
        return f"{relative(path)}: " if path else ""


def list_group_choices(folders: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """Yield each group with its choices: the folders of YAML files, and the files in them."""
    for group in sorted(path.name for path in CONFIGS.iterdir() if path.is_dir()):
        places = [folder / group for folder in (CONFIGS, *folders)]
        yield group, sorted({path.stem for place in places for path in place.glob("*.yaml")})


def list_settings(cls: type) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, type and field of every setting of a config, for all choices that can be made."""
    yield from iter_settings(cls, {})
    for section in list_groups(cls):
        for variant in CHOICES[get_type_hints(cls)[section]].values():
            for key, kind, field in iter_settings(variant, {}):
                yield join_key(section, key), kind, field


def to_plain(omega: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """Return a config as nested plain data."""
    values = OmegaConf.to_container(omega, resolve=resolve)
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]


def to_yaml(values: Mapping[str, Any]) -> str:
    """Return nested plain data as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


def _as_override(pick: Word) -> str:
    value = pick.value
    if isinstance(value, list):
        return f"{pick.key}=[{','.join(map(str, value))}]"
    return f"{pick.key}={'null' if value is None else value}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"
