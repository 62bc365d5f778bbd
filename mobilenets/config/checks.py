"""Plain values -> dataclasses, and everything that is wrong with the values, as sentences.

Command lines, YAML files, checkpoints and the configs of resumed runs all go through `build`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, get_type_hints

from mobilenets.choices import describe_unknown, find_nearest, join_words
from mobilenets.config.groups import CHOICES
from mobilenets.config.rules import TRAIN_RULES
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import coerce, show

Config = TypeVar("Config")
MISSING = "???"  # OmegaConf's mark for a value that has to be given
NEEDED = "needs a value"


class Problem(NamedTuple):
    """What is wrong with a setting: "optimizer.lr: -1 is out of range (above 0)"."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


class ConfigError(ValueError):
    """A config that can't be used: every problem in it, a line each."""

    def __init__(self, problems: Iterable[Any]) -> None:
        self.problems = list(dict.fromkeys(str(problem) for problem in problems))
        super().__init__("\n".join(self.problems))


def checked(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The config of the dataclass `cls` from plain nested values.

    Raises:
        ConfigError: with all that is wrong with them.
    """
    config, problems = build(cls, values)
    problems += conflicts(config, problems)
    if problems:
        raise ConfigError(problems)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain data, which `checked` reads back."""
    return dataclasses.asdict(config)


def build(cls: type[Config], values: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """The dataclass `cls` from plain nested values, with None for what is wrong; the problems."""
    problems: list[Problem] = []
    config = _section(cls, values, "", problems)  # leaves the words for unknown keys to us
    return config, [Problem(key, text or unknown(key, cls, values)) for key, text in problems]


def conflicts(config: Any, problems: list[Problem]) -> list[Problem]:
    """What settings are wrong together, among those without a problem of their own."""
    wrong = {problem.key for problem in problems}
    found = []
    for rule, reads in TRAIN_RULES.items() if isinstance(config, TrainConfig) else ():
        sections = [key.split(".")[0] for key in reads if "." in key]
        if wrong.isdisjoint(reads) and all(getattr(config, name) for name in sections):
            found += [Problem(*pair) for pair in rule(config)]
    return found


def _section(cls: type, values: Any, at: str, problems: list[Problem]) -> Any:
    """The dataclass `cls` from `values`, with None in place of what is wrong."""
    if not isinstance(values, Mapping):
        problems.append(Problem(at, f"is a section of settings, not {show(values)}"))
        return None
    if cls in CHOICES:
        name, choices = str(values.get("name")), CHOICES[cls]
        if name not in choices:
            problems.append(Problem(f"{at}.name", describe_unknown(name, list(choices))))
            return None
        cls = choices[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}
    problems += [Problem(joined(at, str(name)), "") for name in values if name not in fields]
    types = get_type_hints(cls)
    arguments: dict[str, Any] = dict.fromkeys(fields)
    for name, field in fields.items():
        key, value = joined(at, name), values.get(name, MISSING)
        if value == MISSING:
            example = field.metadata.get("example")
            problems.append(Problem(key, NEEDED + (f", e.g. {key}={example}" if example else "")))
        elif dataclasses.is_dataclass(types[name]):
            arguments[name] = _section(types[name], value, key, problems)  # type: ignore[arg-type]
        else:
            try:
                arguments[name] = coerce(types[name], value, field.metadata)
            except ValueError as error:
                problems.append(Problem(key, str(error)))
    return cls(**arguments)


def chosen(cls: type) -> list[str]:
    """The sections of `cls` that are chosen from several."""
    return [name for name, kind in get_type_hints(cls).items() if kind in CHOICES]


def settings(
    cls: Any, values: Any, at: str = ""
) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """The key, type and field of every section and setting, for the choices made in `values`."""
    values = values if isinstance(values, Mapping) else {}
    cls = CHOICES.get(cls, {}).get(str(values.get("name")), cls)
    types = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key, kind = joined(at, field.name), types[field.name]
        yield key, kind, field
        if dataclasses.is_dataclass(kind):
            yield from settings(kind, values.get(field.name), key)


def keys(cls: type, values: Any) -> list[str]:
    """The key of every section and setting, for the choices made in `values`."""
    return [key for key, _, _ in settings(cls, values)]


def unknown(key: str, cls: type, values: Mapping[str, Any]) -> str:
    """The sentence for a key that is no setting: whose it is, or which is meant."""
    section, _, rest = key.partition(".")
    variants = CHOICES.get(get_type_hints(cls).get(section, cls), {})
    owners = [name for name, variant in variants.items() if rest in keys(variant, {})]
    if owners:
        choice = values[section]["name"]
        return f"an option of {join_words(owners, 'and')}, and {section} is {choice}"
    parent, _, name = key.rpartition(".")
    known = [other.rpartition(".") for other in keys(cls, values)]
    near = find_nearest(name, [last for above, _, last in known if above == parent])
    near = [joined(parent, match) for match in near] or [
        joined(above, last)
        for match in find_nearest(name, [last for _, _, last in known], count=2, cutoff=0.7)
        for above, _, last in known
        if last == match
    ]
    if near:
        return f"did you mean {join_words(near[:2], 'or')}?"
    return "there is no such setting; --help lists all"


def joined(section: str, name: str) -> str:
    """model, name -> model.name."""
    return f"{section}.{name}" if section else name
