"""Turn plain values into dataclasses and report every problem in the values, a sentence each.

Command lines, YAML files, checkpoints and the configs of resumed runs all go through
`build_config`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, get_type_hints

from mobilenets.choices import describe_unknown, find_nearest, join_words
from mobilenets.config.groups import CHOICES
from mobilenets.config.rules import TRAIN_RULES
from mobilenets.config.schema import TrainConfig
from mobilenets.config.synonyms import explain_foreign
from mobilenets.config.trainer_rules import TRAINER_RULES
from mobilenets.config.values import coerce, format_value

Config = TypeVar("Config")
MISSING = "???"  # OmegaConf's mark for a value that has no default
NEEDS_VALUE = "needs a value"

# Settings of earlier versions that had no effect. Files and checkpoints that still contain them are
# read without them; on a command line they are errors. Images in files have data.num_workers.
REMOVED_SETTINGS = (
    "trainer.limit_predict_batches",
    "trainer.enable_autolog_hparams",
    "trainer.barebones",
    "data.num_workers",
)


class Problem(NamedTuple):
    """A setting and what is wrong with it: "optimizer.lr: -1 is out of range (above 0)"."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


class ConfigError(ValueError):
    """An invalid config. The message has a line for each problem."""

    def __init__(self, problems: Iterable[Any]) -> None:
        self.problems = list(dict.fromkeys(str(problem) for problem in problems))
        super().__init__("\n".join(self.problems))


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Return the config of the dataclass `cls` from plain nested values.

    Raises:
        ConfigError: with every problem in the values.
    """
    config, problems = build_config(cls, values)
    problems += find_conflicts(config, problems)
    if problems:
        raise ConfigError(problems)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain nested values, which `from_dict` reads back."""
    return dataclasses.asdict(config)


def build_config(cls: type[Config], values: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """Return the config of the dataclass `cls`, with None for invalid values, and the problems."""
    problems: list[Problem] = []
    config = _build_section(cls, values, "", problems)  # an unknown key gets no text there
    return config, [
        Problem(key, text or explain_unknown(key, cls, values)) for key, text in problems
    ]


def find_conflicts(config: Any, problems: list[Problem]) -> list[Problem]:
    """Return where settings contradict each other, except those with a problem of their own."""
    invalid = {problem.key for problem in problems}
    conflicts = []
    for rule, reads in TRAIN_RULES.items() if isinstance(config, TrainConfig) else ():
        sections = [key.split(".")[0] for key in reads if "." in key]
        if invalid.isdisjoint(reads) and all(getattr(config, name) for name in sections):
            conflicts += [Problem(*pair) for pair in rule(config)]
    trainer = getattr(config, "trainer", None)
    for trainer_rule, reads in TRAINER_RULES.items() if trainer else ():
        has_all = all(hasattr(trainer, name) for name in reads)
        if has_all and invalid.isdisjoint(f"trainer.{name}" for name in reads):
            conflicts += [Problem(*pair) for pair in trainer_rule(trainer)]
    return conflicts


def _build_section(cls: type, values: Any, at: str, problems: list[Problem]) -> Any:
    """Return the dataclass `cls`, with None for invalid values; append the problems."""
    if not isinstance(values, Mapping):
        problems.append(Problem(at, f"is a section of settings, not {format_value(values)}"))
        return None
    if cls in CHOICES:
        name, choices = str(values.get("name")), CHOICES[cls]
        if name not in choices:
            problems.append(Problem(f"{at}.name", describe_unknown(name, list(choices))))
            return None
        cls = choices[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [join_key(at, str(name)) for name in values if name not in fields]
    problems += [Problem(key, "") for key in unknown if key not in REMOVED_SETTINGS]
    types = get_type_hints(cls)
    arguments: dict[str, Any] = dict.fromkeys(fields)
    for name, field in fields.items():
        key, value = join_key(at, name), values.get(name, MISSING)
        if value == MISSING:
            example = field.metadata.get("example")
            hint = f", e.g. {key}={example}" if example else ""
            problems.append(Problem(key, NEEDS_VALUE + hint))
        elif dataclasses.is_dataclass(types[name]):
            section: Any = types[name]
            arguments[name] = _build_section(section, value, key, problems)
        else:
            try:
                arguments[name] = coerce(types[name], value, field.metadata)
            except ValueError as error:
                problems.append(Problem(key, str(error)))
    return cls(**arguments)


def list_groups(cls: type) -> list[str]:
    """Return the sections of `cls` that are chosen from several: model, data, ..."""
    return [name for name, kind in get_type_hints(cls).items() if kind in CHOICES]


def iter_settings(
    cls: Any, values: Any, at: str = ""
) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield the key, type and field of every section and setting, for the choices in `values`."""
    values = values if isinstance(values, Mapping) else {}
    cls = CHOICES.get(cls, {}).get(str(values.get("name")), cls)
    types = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key, kind = join_key(at, field.name), types[field.name]
        yield key, kind, field
        if dataclasses.is_dataclass(kind):
            yield from iter_settings(kind, values.get(field.name), key)


def list_keys(cls: type, values: Any) -> list[str]:
    """Return the key of every section and setting, for the choices in `values`."""
    return [key for key, _, _ in iter_settings(cls, values)]


def explain_unknown(key: str, cls: type, values: Mapping[str, Any]) -> str:
    """Say which choices have the unknown setting `key`, or which setting was probably meant."""
    section, _, rest = key.partition(".")
    variants = CHOICES.get(get_type_hints(cls).get(section, cls), {})
    owners = [name for name, variant in variants.items() if rest in list_keys(variant, {})]
    if owners:
        choice = values[section]["name"]
        return f"is an option of {join_words(owners, 'and')}, but {section} is {choice}"
    if hint := explain_foreign(key):
        return hint
    parent, _, name = key.rpartition(".")
    known = [other.rpartition(".") for other in list_keys(cls, values)]
    siblings = [last for above, _, last in known if above == parent]
    similar = [join_key(parent, match) for match in find_nearest(name, siblings)] or [
        join_key(above, last)
        for match in find_nearest(name, [last for _, _, last in known], count=2, cutoff=0.7)
        for above, _, last in known
        if last == match
    ]
    if similar:
        return f"did you mean {join_words(similar[:2], 'or')}?"
    return "there is no such setting; --help lists all"


def join_key(section: str, name: str) -> str:
    """Return "model.name" for "model" and "name"."""
    return f"{section}.{name}" if section else name


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys; sections stay beside the settings in them."""
    found = {}
    for name, value in values.items():
        found[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
    return found
