"""A command line -> a config. Hydra composes it; every problem on the way is collected."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin, get_type_hints

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mobilenets.choices import describe_unknown
from mobilenets.config.checks import (
    NEEDED,
    ConfigError,
    Problem,
    build,
    chosen,
    conflicts,
    keys,
    unknown,
)
from mobilenets.console import relative

CONFIGS = Path(__file__).parents[2] / "configs"
SECRET = "oc.env"  # OmegaConf's resolver of environment variables
NO_SECRETS = (
    "what ${{oc.env:...}} stands for would be written into the run folder; give the value itself, "
    'as in {key}="$NAME", if it is no secret'
)
REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)


class Source(NamedTuple):
    """The primary YAML file of a config, and settings of Hydra that go with it."""

    folder: Path
    name: str
    hydra: tuple[str, ...] = ()


class Command(NamedTuple):
    """A command line: where its config begins, and the overrides."""

    source: Source
    overrides: list[str]


class Composed(NamedTuple):
    """A config, and Hydra's form of it, which has Hydra's own settings too."""

    config: Any
    omega: DictConfig


def compose(cls: type, command: Command, *, sweep: bool = False, complete: bool = True) -> Composed:
    """The config of the dataclass `cls` that a command line asks for.

    Args:
        sweep: several values for a setting make several jobs. All of them are checked, and the
            first is returned.
        complete: False lets values be missing that have to be given.

    Raises:
        ConfigError: with all problems of the command line and of the YAML files.
    """
    composed, problems = attempt(cls, command, sweep)
    problems = [p for p in problems if complete or not p.text.startswith(NEEDED)]
    if problems:
        raise ConfigError(problems)
    assert composed is not None
    return composed


def attempt(
    cls: type, command: Command, sweep: bool = False
) -> tuple[Composed | None, list[Problem]]:
    """The same with the problems, None standing for what can't be composed."""
    folder, name = command.source.folder.absolute(), command.source.name
    if not (folder / f"{name}.yaml").is_file():
        hint = "" if CONFIGS.is_dir() else "; install mobilenets from a clone: pip install -e ."
        return None, [Problem("", f"there is no {folder / name}.yaml{hint}")]
    with hydra.initialize_config_dir(str(folder), name, "1.3"):
        composer = Composer(cls, command.source)
        jobs = [composer.compose(job) for job in composer.jobs(command.overrides, sweep)]
    return jobs[0], composer.problems


class Composer:
    """Composes jobs from one source, inside an initialised Hydra; keeps what is wrong with them."""

    def __init__(self, cls: type, source: Source) -> None:
        self.cls = cls
        self.source = source
        self.problems: list[Problem] = []
        self.loader = GlobalHydra.instance().config_loader()
        self.groups = [group for group in self.loader.list_groups("") if group != "hydra"]

    def choices(self, group: str) -> list[str]:
        """The choices of a group, with those of folders that the command line adds."""
        return self.loader.get_group_options(group, overrides=list(self.source.hydra))

    def jobs(self, texts: list[str], sweep: bool) -> list[list[Override]]:
        """The overrides of each job: of a sweep one for every combination of its values."""
        parser = OverridesParser.create(self.loader)
        values: list[list[Override]] = []
        for text in texts:
            try:
                override = parser.parse_overrides([text])[0]
            except HydraException:
                self.wrong(text, self.unreadable(text))
                continue
            if not override.is_sweep_override():
                values.append([override])
            elif not sweep:
                self.wrong(text, "a list is written [a,b]; to run with each value add --multirun")
            elif override.is_discrete_sweep():
                key = override.get_key_element()
                jobs = [f"{key}={value}" for value in override.sweep_string_iterator()]
                values.append(parser.parse_overrides(jobs))
        return [list(job) for job in itertools.product(*values)]

    def unreadable(self, text: str) -> str:
        """The sentence for what is no override."""
        if text.startswith("-"):
            return "there is no such flag; settings are written setting=value"
        key, equals, value = text.partition("=")
        if equals:
            return f"""the value can't be read; in quotes it can: '{key}="{value}"'"""
        group = next((group for group in self.groups if text in self.choices(group)), None)
        return f"did you mean {group}={text}?" if group else "should be setting=value; see --help"

    def compose(self, job: list[Override]) -> Composed | None:
        """The config of one job; None if Hydra can't compose it."""
        choices, settings, hydras = [], [], []
        for override in job:
            if override.is_hydra_override():
                hydras.append(override)
            elif override.key_or_group in self.groups and not isinstance(override.value(), dict):
                choices.append(override)
            else:
                settings.append(override)
        lost = [choice.key_or_group for choice in choices if not self.exists(choice)]
        choices = [choice for choice in choices if choice.key_or_group not in lost]
        base = self.hydra(choices)
        if base is None:
            return None
        # Nothing can be said of sections whose choice is unknown.
        unsure = tuple(f"{name}." for name in (chosen(self.cls) if "experiment" in lost else lost))
        settings = [item for item in settings if not item.key_or_group.startswith(unsure)]
        values = plain(base)
        settings = [item for item in settings if self.is_setting(item, values)]
        # Should Hydra refuse one of its own settings, the others are still checked.
        rest = settings + hydras
        omega = self.hydra(choices + rest) or self.hydra(choices + settings) if rest else base
        if omega is None:
            return None
        config, problems = self.read(omega, choices, [item.key_or_group for item in settings])
        if not lost:
            self.problems += conflicts(config, problems)
        return Composed(config, omega)

    def exists(self, choice: Override) -> bool:
        """Whether the choice of a group exists."""
        group, value = choice.key_or_group, choice.value()
        known = self.choices(group)
        for name in value if isinstance(value, list) else [value]:
            if name not in known and not choice.is_delete():
                self.wrong(
                    f"{group}={'null' if name is None else name}", describe_unknown(name, known)
                )
                return False
        return True

    def is_setting(self, override: Override, values: dict[str, Any]) -> bool:
        """Whether there is such a setting, and it may be set by itself."""
        if override.is_delete():
            return True  # Hydra knows what is there
        known, value = set(keys(self.cls, values)), override.value()
        nested = flat(value, f"{override.key_or_group}.") if isinstance(value, dict) else {}
        for key in (override.key_or_group, *nested):
            section = key.removesuffix(".name")
            if key not in known:
                self.wrong(key, unknown(key, self.cls, values))
                return False
            if section != key:
                self.wrong(key, f"is chosen with {section}={nested.get(key, value)}")
                return False
        return True

    def hydra(self, overrides: list[Override]) -> DictConfig | None:
        """What Hydra composes; None if it refuses."""
        texts = [*self.source.hydra, *(str(override.input_line) for override in overrides)]
        try:
            return hydra.compose(self.source.name, texts, return_hydra_config=True)
        except REFUSALS as error:
            experiments = [item.value() for item in overrides if item.key_or_group == "experiment"]
            self.problems.append(self.refusal(error, experiments))
            return None

    def read(
        self, omega: DictConfig, choices: list[Override], overridden: list[str]
    ) -> tuple[Any, list[Problem]]:
        """The config from what Hydra composed, and its problems; those of files name the file."""
        written = flat(plain(omega))
        if secret := [key for key, value in written.items() if SECRET in str(value)]:
            leaves = [key for key in secret if not isinstance(written[key], Mapping)]
            self.problems += [Problem(key, NO_SECRETS.format(key=key)) for key in leaves]
            return None, []
        try:
            values = plain(omega, resolve=True)
        except OmegaConfBaseException as error:
            self.wrong(str(error.full_key), str(error.msg).splitlines()[0])
            return None, []
        config: Any
        problems: list[Problem]
        config, problems = build(self.cls, values)
        if problems:
            wrong = {problem.key for problem in problems}
            files = self.files(omega, choices)
            for key, text in problems:
                if str(written.get(key))[2:-1] in wrong:
                    continue  # "${data.strides}" repeats what is wrong there
                if any(problem.key.startswith(f"{key}=") for problem in self.problems):
                    continue  # it is given, in a form that can't be read
                if key == "experiment":
                    text = "its file has to begin with: # @package _global_"
                here = any(f"{key}.".startswith(f"{other}.") for other in overridden)
                file = "" if here or text.startswith(NEEDED) else stated_in(files, key)
                self.wrong(file + key, text)
        return config, problems

    def files(self, omega: DictConfig, choices: list[Override]) -> list[tuple[Path, str]]:
        """The YAML files that a config was composed from and the section each fills, in order."""
        folders = [Path(item.path) for item in omega.hydra.runtime.config_sources]
        texts = [*self.source.hydra, *(str(choice.input_line) for choice in choices)]
        defaults = self.loader.compute_defaults_list(self.source.name, texts, RunMode.RUN).defaults
        return [
            (folder / f"{default.config_path}.yaml", default.package or "")
            for default in defaults
            for folder in folders
            if (folder / f"{default.config_path}.yaml").is_file()
        ]

    def refusal(self, error: Exception, experiments: list[Any]) -> Problem:
        """Why Hydra could not compose a config, in one sentence."""
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
            if experiments and place == self.source.name:  # Hydra names the file overridden
                place = f"experiment/{experiments[-1]}"
        if place in (None, self.source.name, "hydra/config"):
            return Problem("", text)
        file = self.source.folder / f"{place}.yaml"
        return Problem(relative(file) if file.is_file() else f"{place}.yaml", text)

    def wrong(self, key: str, text: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem(key, text))


def explicit_settings(omega: DictConfig) -> set[str]:
    """The settings that a command line or an experiment states, not a choice's own file."""
    known: dict[str, Any] = {}
    for override in map(parsed, omega.hydra.overrides.task):
        if override is not None:
            value = override.value()
            known |= flat({override.key_or_group: value})
    experiments = omega.hydra.runtime.choices.get("experiment")
    for name in experiments if isinstance(experiments, list) else [experiments]:
        for source in omega.hydra.runtime.config_sources:
            file = Path(source.path) / "experiment" / f"{name}.yaml"
            if source.provider not in ("hydra", "schema") and file.is_file():
                known |= flat(yaml.safe_load(file.read_text("utf-8")) or {})
    return set(known)


def parsed(text: str) -> Override | None:
    """The override that a text stands for; None if it is none."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def quote_plain_value(text: str, cls: type) -> str:
    """A setting as a person means it, in Hydra's grammar, where `cls` says of what type it is.

    A path is taken as it stands, whatever is in it, and format=a,b is the list [a,b]: sweeps are
    train.py's.
    """
    name, equals, value = text.partition("=")
    kind = get_type_hints(cls).get(name)
    if not equals or kind is None or value[:1] in ("'", '"', "$"):
        return text
    if get_origin(kind) is list:
        return text if value.startswith("[") else f"{name}=[{value}]"
    if kind in (str, str | None) and value not in ("null", "???", ""):
        return f"{name}={quoted(value)}"
    return text


def collect_paths(texts: list[str], name: str) -> list[str]:
    """Words with all that a setting of paths is given, at its place: `input=a.jpg b.jpg photos/`.

    Words without = belong to it, and those with one that are the name of a file.
    """
    paths, rest = [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if key == name and equals:
            paths += [value] * bool(value)
        elif (equals or text.startswith("--")) and not Path(text).exists():
            rest.append(text)
        else:
            paths.append(text)
    return [*rest, f"{name}=[{','.join(map(quoted, paths))}]"] if paths else rest


def quoted(text: object) -> str:
    """A text as the value of an override, whatever is in it."""
    return QuotedString(str(text), Quote.single).with_quotes()


def plain(omega: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """The config without Hydra's own settings, as nested plain data."""
    names = [str(name) for name in omega if name != "hydra"]
    values = OmegaConf.to_container(OmegaConf.masked_copy(omega, names), resolve=resolve)
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]


def flat(values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Nested values under their dotted keys, sections among them."""
    found = {}
    for name, value in values.items():
        found[f"{at}{name}"] = value
        if isinstance(value, Mapping):
            found |= flat(value, f"{at}{name}.")
    return found


def stated_in(files: list[tuple[Path, str]], key: str) -> str:
    """The last file that sets `key`, as the beginning of a sentence; "" if none does."""
    for path, section in reversed(files):
        values = yaml.safe_load(path.read_text("utf-8")) or {}
        if key in flat(values, f"{section}." if section else ""):
            return f"{relative(path)}: "
    return ""
