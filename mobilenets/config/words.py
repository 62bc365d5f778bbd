"""The words of a command line, parsed once: choices, settings, the folder of the run."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
SEARCH_PATH = "hydra.searchpath"
NO_PLUGINS = (
    "Hydra's launchers and sweepers are not supported: --multirun runs every combination of the "
    "values given as a,b, one after another"
)
ONLY_FOLDERS = f"of Hydra's own settings only {', '.join(FOLDERS)} and {SEARCH_PATH} are taken"
HYDRA = re.compile(r"[+~]*hydra[./@=]|[+~]*hydra$")
MISSING = "???"  # OmegaConf's mark for a value that has to be given


class Word(NamedTuple):
    """A setting or a choice with its value as plain data: optimizer.lr, 0.1."""

    key: str
    value: Any
    text: str  # as it was typed


class Grammar(NamedTuple):
    """What the words of a command may be.

    Attributes:
        groups: group -> its choices.
        texts: settings whose value is a text, taken as it stands.
        lists: settings whose value is a list; a,b stands for [a,b].
    """

    groups: Mapping[str, list[str]]
    texts: Collection[str]
    lists: Collection[str] = ()

    def parse(self, text: str, sweep: bool = False) -> list[Word]:
        """Return the setting that a word stands for; of a sweep one for each of its values.

        A text such as a path is taken as the shell hands it over, whatever is in it; in a sweep a
        comma separates values. All other values are in Hydra's grammar.

        Raises:
            ValueError: the sentence for a word that can't be read.
        """
        name, equals, value = text.partition("=")
        key = name.lstrip("+")
        if HYDRA.match(text) and key not in FOLDERS:
            plugins = re.match(r"[+~]*hydra[./](launcher|sweeper)", text)
            raise ValueError(NO_PLUGINS if plugins else ONLY_FOLDERS)
        if (equals and key in self.texts) or key in FOLDERS:
            if not sweep or not _separates(value):
                return [Word(key, parse_text(value), text)]
        elif equals and key in self.lists and not value.startswith(("[", "$")):
            override = _parse(f"{key}=[{value}]")
            if override is not None:
                return [_word(override, text)]
        override = _parse(text)
        if override is None:
            raise ValueError(self._explain_unreadable(text))
        if not override.is_sweep_override():
            return [_word(override, text)]
        if not sweep:
            raise ValueError("a list is written [a,b]; to run with each value add --multirun")
        key = override.get_key_element()
        values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        return [_word(one, text) for text in values if (one := _parse(text))]

    def _explain_unreadable(self, text: str) -> str:
        """Return the sentence for a word that is no setting=value."""
        if text.startswith("-"):
            return "there is no such flag; settings are written setting=value"
        if "=" in text:
            return f"the value can't be read; in quotes it can: {_quoted_word(text)}"
        group = next((group for group in self.groups if text in self.groups[group]), None)
        return f"did you mean {group}={text}?" if group else "should be setting=value; see --help"


def collect_inputs(texts: list[str], name: str) -> tuple[list[str], list[str]]:
    """Split words into the values of a setting of paths, and all others.

    Words without = are values, as are those with one that are the name of a file:
    `input=a.jpg b.jpg photos/`.
    """
    inputs, others = [], []
    for text in texts:
        key, equals, value = text.partition("=")
        if key == name and equals:
            inputs += [value] * bool(value)
        elif (equals or text.startswith("--")) and not Path(text).exists():
            others.append(text)
        else:
            inputs.append(text)
    return inputs, others


def parse_text(value: str) -> Any:
    """Return the text that a shell handed over, ~ being the home folder.

    null is None, and quotes around the whole text are dropped.
    """
    if value == "null":
        return None
    if value == "~" or value.startswith("~/"):
        return str(Path(value).expanduser())
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        override = _parse(f"x={value}")
        if override is not None and not override.is_sweep_override():
            return str(override.value())
    return value


def parse_search_path(value: str) -> list[Path]:
    """Return the folders of hydra.searchpath=[a,b] or of a single folder."""
    override = _parse(f"x={value}")
    found = override.value() if override is not None and not override.is_sweep_override() else value
    texts = found if isinstance(found, list) else [found]
    return [Path(str(text).removeprefix("file://")).expanduser().absolute() for text in texts]


def is_list(kind: Any) -> bool:
    """Return whether a setting of this type is a list."""
    return get_origin(kind) is list


def _parse(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def _word(override: Override, text: str) -> Word:
    value = MISSING if override.is_delete() else override.value()
    return Word(override.key_or_group, value, text)


def _separates(value: str) -> bool:
    """Return whether a text gives several values to a sweep."""
    override = _parse(f"x={value}")
    return override is not None and override.is_sweep_override()


def _quoted_word(text: str) -> str:
    key, _, value = text.partition("=")
    return f"""'{key}="{value}"'"""
