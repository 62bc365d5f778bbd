"""Numbers in a range: check them, and describe the range in words.

A range is a mapping of limits: "above", "at_least", "below", "at_most"; all are optional.
"""

import math
from collections.abc import Mapping

LIMITS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}


def is_in_range(number: float, limits: Mapping[str, float]) -> bool:
    """Return whether a number is finite and within all limits; other keys are ignored."""
    return (
        math.isfinite(number)
        and limits.get("above", -math.inf) < number < limits.get("below", math.inf)
        and limits.get("at_least", -math.inf) <= number <= limits.get("at_most", math.inf)
    )


def describe_range(limits: Mapping[str, float]) -> str:
    """Return "above 0, at most 1", or "finite" without a limit; other keys are ignored."""
    texts = [f"{text} {limits[name]}" for name, text in LIMITS.items() if name in limits]
    return ", ".join(texts) or "finite"


def check_number(
    name: str, value: object, kind: type[int] | type[float] = float, /, **limits: float
) -> None:
    """Raise ValueError, with `name`, if `value` is not a number of this kind within the limits."""
    is_number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if isinstance(value, bool) or not is_number or not is_in_range(value, limits):  # type: ignore
        noun = "an integer" if kind is int else "a number"
        raise ValueError(f"{name}={value!r} must be {noun} ({describe_range(limits)})")


def check_ints(minimum: int, /, **values: object) -> None:
    """Raise ValueError for the first of `values` that is not an integer of at least `minimum`."""
    for name, value in values.items():
        check_number(name, value, int, at_least=minimum)
