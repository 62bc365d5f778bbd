"""Check one value against its setting's type and range, and describe both in error messages."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mobilenets.choices import join_words, suggest
from mobilenets.ranges import describe_range, is_in_range

TYPE_NAMES = {  # singular, plural
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false", "true or false"),
    NoneType: ("null", "null"),
}


def coerce(kind: Any, value: Any, limits: Mapping[str, Any]) -> Any:
    """Return `value` as the type `kind`.

    Args:
        limits: the setting's bounds and length, as in `groups.setting`.

    Raises:
        ValueError: wrong type, range or length; the message follows the setting's name.
    """
    kinds = list_union_members(kind)
    choices = list_literals(kind)
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    if isinstance(value, list):
        for items in (get_args(option)[0] for option in kinds if get_origin(option) is list):
            _check_length(value, limits)
            return [coerce(items, item, limits) for item in value]
    given = value
    if type(value) is int and int not in kinds:
        if float in kinds:  # 1 for 1.0
            value = float(value)
        elif str in kinds:  # a folder called 2024
            value = str(value)
    if type(value) not in kinds:
        raise ValueError(
            f"{format_value(value)} is not {describe_type(kind)}{suggest(value, choices)}"
        )
    if type(value) in (int, float) and not is_in_range(value, limits):
        raise ValueError(f"{format_value(given)} is out of range ({describe_range(limits)})")
    return value


def _check_length(values: list[Any], limits: Mapping[str, Any]) -> None:
    length = limits.get("length", len(values))
    if len(values) != length:
        raise ValueError(f"has {len(values)} values but needs {length}")


def list_union_members(kind: Any) -> list[Any]:
    """Return the members of a union; any other type is its own only member."""
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def list_literals(kind: Any) -> list[Any]:
    """Return the values that the Literals in a type list."""
    return [
        value
        for option in list_union_members(kind)
        if get_origin(option) is Literal
        for value in get_args(option)
    ]


def format_value(value: Any) -> str:
    """Format a value as in YAML, with quotes around a string."""
    if isinstance(value, list):
        return f"[{', '.join(map(format_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def describe_type(kind: Any, plural: bool = False) -> str:
    """Describe what a type admits: "imagenet, cifar or a list of integers"."""
    names: list[str] = []
    for option in list_union_members(kind):
        if get_origin(option) is Literal:
            names += dict.fromkeys(map(str, get_args(option)))
        elif get_origin(option) is list:
            items = describe_type(get_args(option)[0], plural=True)
            names.append(f"lists of {items}" if plural else f"a list of {items}")
        else:
            names.append(TYPE_NAMES[option][plural])
    return join_words(names, "or")
