"""YAML files of other people, read as plain data within bounds."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mobilenets.console import relative

NO_HYDRA = "has a section hydra, which could run code: remove it, settings of Hydra are not read"
MAX_BYTES = 1 << 20
MAX_DEPTH = 50  # of sections within sections
MAX_NODES = 100_000  # values, each alias counted as what it stands for


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ValueError: one sentence that begins with the path: the file can't be read, is not YAML,
            is no mapping at the top, or is out of bounds.
    """
    place = relative(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{place} is larger than {MAX_BYTES:,} bytes: it is not a config")
        text = path.read_text("utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        _check_bounds(node)
        content = yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f"{place}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{place} is not a text file in UTF-8") from None
    except RecursionError:
        raise ValueError(f"{place} is nested too deeply: at most {MAX_DEPTH} levels") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{place}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{place}: {str(error).splitlines()[0]}") from None
    except _OutOfBoundsError as error:
        raise ValueError(f"{place} {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a text"
        raise ValueError(f"{place} holds {kind} at the top: it should hold settings, key: value")
    return content


class _OutOfBoundsError(Exception):
    pass


def _check_bounds(root: yaml.Node | None) -> None:
    """Raise _OutOfBoundsError where aliases repeat too much, or refer to themselves."""
    sizes: dict[int, int] = {}  # id of a node -> values in it

    def measure(node: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise _OutOfBoundsError(f"is nested too deeply: at most {MAX_DEPTH} levels")
        if id(node) not in sizes:
            size = 1 + sum(measure(child, depth + 1) for child in _children(node))
            if size > MAX_NODES:
                raise _OutOfBoundsError(f"has aliases that repeat more than {MAX_NODES:,} values")
            sizes[id(node)] = size
        return sizes[id(node)]

    if root is not None:
        measure(root, 0)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def list_foreign_files(names: Iterable[str], folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of choices, GROUP/NAME, and of those that their defaults name.

    Args:
        folders: where choices of other people are looked for; what is in none is left out.
    """
    waiting, folders = list(dict.fromkeys(names)), list(folders)
    for name in waiting:  # which grows meanwhile
        paths = [folder / f"{name}.yaml" for folder in folders]
        for path in [path for path in paths if path.is_file()][:1]:
            yield path
            defaults = _list_defaults(read_yaml(path), name.rpartition("/")[0])
            waiting += [other for other in defaults if other not in waiting]


def check_foreign(path: Path) -> None:
    """Raise ValueError for a file with settings of Hydra."""
    content = read_yaml(path)
    stated = any(str(key).partition(".")[0] == "hydra" for key in content)
    if stated or any("hydra/" in name for name in _list_defaults(content, "")):
        raise ValueError(f"{relative(path)} {NO_HYDRA}")


def _list_defaults(content: Mapping[str, Any], group: str) -> list[str]:
    """Return the files that a defaults list names, as GROUP/NAME."""
    names, listed = [], content.get("defaults")
    for entry in listed if isinstance(listed, list) else ():
        for key, value in entry.items() if isinstance(entry, dict) else [("", entry)]:
            words = str(key).partition("@")[0].split()  # override /model
            place = words[-1].lstrip("/") if words else group
            choices = value if isinstance(value, list) else [value]
            names += [f"{place}/{choice}".lstrip("/") for choice in choices]
    return names
