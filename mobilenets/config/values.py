"""One value against the type and the range of its setting, and the words for both."""

import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mobilenets.choices import join_words, suggest

NOUNS = {  # one, several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    NoneType: ("null", "null"),
}
BOUNDS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}


def coerce(kind: Any, value: Any, rules: Mapping[str, Any]) -> Any:
    """`value` as the type `kind`, within the `rules` of its setting.

    Raises:
        ValueError: with the words that follow the setting's name.
    """
    kinds = alternatives(kind)
    choices = literals(kind)
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    if isinstance(value, list):
        for items in (get_args(option)[0] for option in kinds if get_origin(option) is list):
            return [coerce(items, item, rules) for item in _of_length(value, rules)]
    given = value
    if type(value) is int and int not in kinds:
        if float in kinds:  # 1 for 1.0
            value = float(value)
        elif str in kinds:  # a folder called 2024
            value = str(value)
    if type(value) not in kinds:
        raise ValueError(f"{show(value)} is not {noun(kind)}{suggest(value, choices)}")
    if type(value) in (int, float) and not _inside(value, rules):
        raise ValueError(f"{show(given)} is out of range ({bounds(rules) or 'finite'})")
    return value


def _of_length(values: list[Any], rules: Mapping[str, Any]) -> list[Any]:
    if len(values) != rules.get("length", len(values)):
        raise ValueError(f"has {len(values)} values, and {rules['length']} are needed")
    return values


def _inside(number: float, rules: Mapping[str, Any]) -> bool:
    return (
        math.isfinite(number)
        and rules.get("above", -math.inf) < number < rules.get("below", math.inf)
        and rules.get("at_least", -math.inf) <= number <= rules.get("at_most", math.inf)
    )


def alternatives(kind: Any) -> list[Any]:
    """The members of a union, or the one type."""
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def literals(kind: Any) -> list[Any]:
    """The values that a type lists."""
    return [
        value
        for option in alternatives(kind)
        if get_origin(option) is Literal
        for value in get_args(option)
    ]


def show(value: Any) -> str:
    """A value as YAML has it, a text in quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def noun(kind: Any) -> str:
    """What a type admits: "imagenet, cifar or a list of whole numbers"."""
    words: list[str] = []
    for option in alternatives(kind):
        if get_origin(option) is Literal:
            words += [str(value) for value in dict.fromkeys(map(str, get_args(option)))]
        else:
            words.append(_plain(option, several=False))
    return join_words(words, "or")


def _plain(kind: Any, several: bool) -> str:
    if get_origin(kind) is list:
        return ("lists of " if several else "a list of ") + _plain(get_args(kind)[0], several=True)
    return NOUNS[kind][several]


def bounds(rules: Mapping[str, Any]) -> str:
    """The range of a number: "above 0, at most 1"."""
    return ", ".join(f"{word} {rules[rule]}" for rule, word in BOUNDS.items() if rule in rules)
