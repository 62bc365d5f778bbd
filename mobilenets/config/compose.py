"""Compose a config from a command line with Hydra, and collect every problem on the way."""

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
    NEEDS_VALUE,
    ConfigError,
    Problem,
    build_config,
    explain_unknown,
    find_conflicts,
    flatten,
    list_groups,
    list_keys,
)
from mobilenets.console import relative

CONFIGS = Path(__file__).parents[2] / "configs"
SECRET = "oc.env"  # OmegaConf's resolver of environment variables
NO_SECRETS = (
    "the value of ${{oc.env:...}} would be written to the run folder; if it is not a secret, "
    'pass the value itself, as in {key}="$NAME"'
)
HYDRA_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)


class Source(NamedTuple):
    """The primary YAML file of a config, and the overrides of Hydra's own settings for it."""

    folder: Path
    name: str
    hydra: tuple[str, ...] = ()


class Command(NamedTuple):
    """A command line: the source of the config, and the overrides."""

    source: Source
    overrides: list[str]


class Composition(NamedTuple):
    """A config, and the DictConfig it was built from, which includes Hydra's own settings."""

    config: Any
    omega: DictConfig


def compose(
    cls: type, command: Command, *, sweep: bool = False, complete: bool = True
) -> Composition:
    """Return the config of the dataclass `cls` that a command line describes.

    Args:
        sweep: accept several values for a setting. Every combination is checked, and the config
            of the first is returned.
        complete: report settings that need a value and have none.

    Raises:
        ConfigError: with every problem in the command line and the YAML files.
    """
    composition, problems = try_compose(cls, command, sweep)
    problems = [p for p in problems if complete or not p.text.startswith(NEEDS_VALUE)]
    if problems:
        raise ConfigError(problems)
    assert composition is not None
    return composition


def try_compose(
    cls: type, command: Command, sweep: bool = False
) -> tuple[Composition | None, list[Problem]]:
    """Return what `compose` does, None if Hydra can't compose it, and the problems."""
    folder, name = command.source.folder.absolute(), command.source.name
    if not (folder / f"{name}.yaml").is_file():
        hint = "" if CONFIGS.is_dir() else "; install mobilenets from a clone: pip install -e ."
        return None, [Problem("", f"there is no {folder / name}.yaml{hint}")]
    with hydra.initialize_config_dir(str(folder), name, "1.3"):
        composer = Composer(cls, command.source)
        jobs = [composer.compose_job(job) for job in composer.list_jobs(command.overrides, sweep)]
    return jobs[0], composer.problems


class Composer:
    """A collector of problems that composes jobs from one source, inside an initialised Hydra."""

    def __init__(self, cls: type, source: Source) -> None:
        self.cls = cls
        self.source = source
        self.problems: list[Problem] = []
        self.loader = GlobalHydra.instance().config_loader()
        self.groups = [group for group in self.loader.list_groups("") if group != "hydra"]

    def list_choices(self, group: str) -> list[str]:
        """Return the choices of a group, including those in folders added by --config-dir."""
        return self.loader.get_group_options(group, overrides=list(self.source.hydra))

    def list_jobs(self, texts: list[str], sweep: bool) -> list[list[Override]]:
        """Return the overrides of each job; a sweep has a job for every combination of values."""
        parser = OverridesParser.create(self.loader)
        values: list[list[Override]] = []
        for text in texts:
            try:
                override = parser.parse_overrides([text])[0]
            except HydraException:
                self.add_problem(text, self.explain_syntax(text))
                continue
            if not override.is_sweep_override():
                values.append([override])
            elif not sweep:
                self.add_problem(
                    text, "write a list as [a,b]; for a run with each value, add --multirun"
                )
            elif override.is_discrete_sweep():
                key = override.get_key_element()
                jobs = [f"{key}={value}" for value in override.sweep_string_iterator()]
                values.append(parser.parse_overrides(jobs))
        return [list(job) for job in itertools.product(*values)]

    def explain_syntax(self, text: str) -> str:
        """Say why a text is not an override, and what to write instead."""
        if text.startswith("-"):
            return "there is no such flag; settings are written setting=value"
        key, equals, value = text.partition("=")
        if equals:
            return f"""the value can't be parsed; quote it: '{key}="{value}"'"""
        group = next((group for group in self.groups if text in self.list_choices(group)), None)
        return f"did you mean {group}={text}?" if group else "should be setting=value; see --help"

    def compose_job(self, job: list[Override]) -> Composition | None:
        """Return the config of one job, None if Hydra can't compose it; collect the problems."""
        choices, settings, hydra_settings, unknown_groups = [], [], [], []
        for override in job:
            if override.is_hydra_override():
                hydra_settings.append(override)
            elif override.key_or_group not in self.groups or isinstance(override.value(), dict):
                settings.append(override)
            elif problem := self.check_choice(override):
                self.problems.append(problem)
                unknown_groups.append(override.key_or_group)
            else:
                choices.append(override)
        choices = [choice for choice in choices if choice.key_or_group not in unknown_groups]
        base = self.call_hydra(choices)
        if base is None:
            return None
        # The settings of a group are unknown if its choice is.
        groups = list_groups(self.cls) if "experiment" in unknown_groups else unknown_groups
        unchecked = tuple(f"{group}." for group in groups)
        values, known_settings = to_plain(base), []
        for override in settings:
            if override.key_or_group.startswith(unchecked):
                continue
            if problem := self.check_key(override, values):
                self.problems.append(problem)
            else:
                known_settings.append(override)
        omega: DictConfig | None = base
        if known_settings or hydra_settings:
            # If Hydra rejects one of its own settings, the others are still checked.
            omega = self.call_hydra(choices + known_settings + hydra_settings) or self.call_hydra(
                choices + known_settings
            )
        if omega is None:
            return None
        overridden = [override.key_or_group for override in known_settings]
        config, problems = self.build_config(omega, choices, overridden)
        if not unknown_groups:
            self.problems += find_conflicts(config, problems)
        return Composition(config, omega)

    def check_choice(self, override: Override) -> Problem | None:
        """Return the problem of an override that makes an unknown choice."""
        group, value = override.key_or_group, override.value()
        known = self.list_choices(group)
        for name in value if isinstance(value, list) else [value]:
            if name not in known and not override.is_delete():
                text = f"{group}={'null' if name is None else name}"
                return Problem(text, describe_unknown(name, known))
        return None

    def check_key(self, override: Override, values: dict[str, Any]) -> Problem | None:
        """Return the problem of an override whose key is not a setting that can be overridden."""
        if override.is_delete():
            return None  # Hydra checks that the key exists
        known, value = set(list_keys(self.cls, values)), override.value()
        nested = flatten(value, f"{override.key_or_group}.") if isinstance(value, dict) else {}
        for key in (override.key_or_group, *nested):
            group = key.removesuffix(".name")
            if key not in known:
                return Problem(key, explain_unknown(key, self.cls, values))
            if group != key:
                return Problem(key, f"is set by {group}={nested.get(key, value)}")
        return None

    def call_hydra(self, overrides: list[Override]) -> DictConfig | None:
        """Return what Hydra composes, None if it raises an error; collect the error."""
        texts = [*self.source.hydra, *(str(override.input_line) for override in overrides)]
        try:
            return hydra.compose(self.source.name, texts, return_hydra_config=True)
        except HYDRA_ERRORS as error:
            experiments = [item.value() for item in overrides if item.key_or_group == "experiment"]
            self.problems.append(self.explain_error(error, experiments))
            return None

    def build_config(
        self, omega: DictConfig, choices: list[Override], overridden: list[str]
    ) -> tuple[Any, list[Problem]]:
        """Build the config from what Hydra composed; collect its problems, with the file of each.

        Args:
            overridden: the keys set on the command line, not in a file.

        Returns:
            The config, with None for invalid values, and its problems without the files.
        """
        written = flatten(to_plain(omega))
        if secret := [key for key, value in written.items() if SECRET in str(value)]:
            leaves = [key for key in secret if not isinstance(written[key], Mapping)]
            self.problems += [Problem(key, NO_SECRETS.format(key=key)) for key in leaves]
            return None, []
        try:
            values = to_plain(omega, resolve=True)
        except OmegaConfBaseException as error:
            self.add_problem(str(error.full_key), str(error.msg).splitlines()[0])
            return None, []
        config: Any
        problems: list[Problem]
        config, problems = build_config(self.cls, values)
        if problems:
            invalid = {problem.key for problem in problems}
            files = self.list_files(omega, choices)
            for key, text in problems:
                if str(written.get(key))[2:-1] in invalid:
                    continue  # "${data.strides}" would repeat the problem of data.strides
                if any(problem.key.startswith(f"{key}=") for problem in self.problems):
                    continue  # the command line sets it, in a form that can't be parsed
                if key == "experiment":
                    text = "its file must begin with: # @package _global_"
                on_command_line = any(f"{key}.".startswith(f"{other}.") for other in overridden)
                if not on_command_line and not text.startswith(NEEDS_VALUE):
                    key = f"{find_file(files, key)}{key}"
                self.add_problem(key, text)
        return config, problems

    def list_files(self, omega: DictConfig, choices: list[Override]) -> list[tuple[Path, str]]:
        """Return the YAML files of a config in order, each with the section that it fills."""
        folders = [Path(item.path) for item in omega.hydra.runtime.config_sources]
        texts = [*self.source.hydra, *(str(choice.input_line) for choice in choices)]
        defaults = self.loader.compute_defaults_list(self.source.name, texts, RunMode.RUN).defaults
        return [
            (folder / f"{default.config_path}.yaml", default.package or "")
            for default in defaults
            for folder in folders
            if (folder / f"{default.config_path}.yaml").is_file()
        ]

    def explain_error(self, error: Exception, experiments: list[Any]) -> Problem:
        """Say in one sentence why Hydra could not compose a config."""
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
            if experiments and place == self.source.name:  # Hydra names the overridden file
                place = f"experiment/{experiments[-1]}"
        if place in (None, self.source.name, "hydra/config"):
            return Problem("", text)
        file = self.source.folder / f"{place}.yaml"
        return Problem(relative(file) if file.is_file() else f"{place}.yaml", text)

    def add_problem(self, key: str, text: str) -> None:
        """Collect a problem."""
        self.problems.append(Problem(key, text))


def explicit_settings(omega: DictConfig) -> set[str]:
    """Return the keys set on the command line or by an experiment, not by a choice's own file."""
    settings: dict[str, Any] = {}
    for override in map(parse_override, omega.hydra.overrides.task):
        if override is not None:
            settings |= flatten({override.key_or_group: override.value()})
    experiments = omega.hydra.runtime.choices.get("experiment")
    for name in experiments if isinstance(experiments, list) else [experiments]:
        for source in omega.hydra.runtime.config_sources:
            file = Path(source.path) / "experiment" / f"{name}.yaml"
            if source.provider not in ("hydra", "schema") and file.is_file():
                settings |= flatten(yaml.safe_load(file.read_text("utf-8")) or {})
    return set(settings)


def find_file(files: list[tuple[Path, str]], key: str) -> str:
    """Return the last file that sets `key` as the beginning of a sentence, "" if none does."""
    for path, section in reversed(files):
        values = yaml.safe_load(path.read_text("utf-8")) or {}
        if key in flatten(values, f"{section}." if section else ""):
            return f"{relative(path)}: "
    return ""


def to_plain(omega: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """Return the config as nested plain values, without Hydra's own settings."""
    names = [str(name) for name in omega if name != "hydra"]
    values = OmegaConf.to_container(OmegaConf.masked_copy(omega, names), resolve=resolve)
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]


# Overrides as text


def parse_override(text: str) -> Override | None:
    """Parse an override; return None if the text is not one."""
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def quote(text: object) -> str:
    """Quote any text for use as the value of an override."""
    return QuotedString(str(text), Quote.single).with_quotes()


def quote_plain_value(text: str, cls: type) -> str:
    """Rewrite `setting=value` in Hydra's grammar, guided by the type that `cls` gives the setting.

    A string is taken literally, whatever characters it has, and format=a,b becomes the list [a,b].
    train.py's overrides don't pass through here: there, a,b is a sweep.
    """
    name, equals, value = text.partition("=")
    kind = get_type_hints(cls).get(name)
    if not equals or kind is None or value[:1] in ("'", '"', "$"):
        return text
    if get_origin(kind) is list:
        return text if value.startswith("[") else f"{name}=[{value}]"
    if kind in (str, str | None) and value not in ("null", "???", ""):
        return f"{name}={quote(value)}"
    return text


def collect_paths(texts: list[str], name: str) -> list[str]:
    """Merge the paths of `input=a.jpg b.jpg photos/` into one override of the setting `name`.

    A word without = is a path, and so is a word with = that names an existing file.
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
    return [*rest, f"{name}=[{','.join(map(quote, paths))}]"] if paths else rest
