"""Messages about choices: which ones there are, which one was probably meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


def find_nearest(
    value: object, choices: Iterable[object], count: int = 1, cutoff: float = 0.6
) -> list[str]:
    """Return up to `count` choices that resemble `value`, the most similar first.

    Args:
        value: what was given.
        choices: what could have been given.
        count: the maximum number of choices to return.
        cutoff: the minimum similarity, from 0 (any choice) to 1 (the same text).
    """
    texts = list(dict.fromkeys(map(str, choices)))
    return get_close_matches(str(value).lower(), texts, n=count, cutoff=cutoff)


def suggest(value: object, choices: Iterable[object], cutoff: float = 0.6) -> str:
    """Return "; did you mean NAME?" for the most similar choice, "" if none is similar."""
    nearest = find_nearest(value, choices, cutoff=cutoff)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def describe_unknown(value: object, choices: Collection[str], cutoff: float = 0.6) -> str:
    """Return "unknown; did you mean NAME? Choices: A, B, C" for a value that is not a choice."""
    hint = suggest(value, choices, cutoff) or "."
    return f"unknown{hint} Choices: {', '.join(choices)}"


def check_choice(option: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError, with the most similar choice and all others, if `value` is not a choice."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{option} {value!r} is {describe_unknown(value, choices, cutoff=0)}")


def join_words(words: Collection[str], last: str) -> str:
    """Return "a, b or c" for three words and `last` = "or"."""
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final
