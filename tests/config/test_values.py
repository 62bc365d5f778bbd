from typing import Literal

import pytest

from mobilenets.config.values import coerce, describe_type


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (float, 1, 1.0),
        (int | float | None, 2, 2),  # a number of batches, not the share 2.0
        (int | float | None, 0.5, 0.5),
        (str | None, 2024, "2024"),
        (Literal["a", "b"] | list[int], [1, 2], [1, 2]),
        (list[list[int]], [[1], [2, 3]], [[1], [2, 3]]),
        (bool | Literal["warn"] | None, "warn", "warn"),
        (bool | int, True, True),
    ],
)
def test_a_value_of_the_right_type_is_accepted(kind, value, result):
    taken = coerce(kind, value, {})
    assert taken == result
    assert type(taken) is type(result)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (float, "abc", "'abc' is not a number"),
        (int, 2.5, "2.5 is not an integer"),
        (int, True, "true is not an integer"),
        (float, None, "null is not a number"),
        (bool, 1, "1 is not true or false"),
        (str | None, True, "true is not a string or null"),
        (list[float], 0.5, "0.5 is not a list of numbers"),
        (list[float], [0.5, "x"], "'x' is not a number"),
        (Literal["symmetric", "same"], "sam", "'sam' is not symmetric or same; did you mean same?"),
        (Literal[32, 16, 8], 12, "12 is not 32, 16 or 8"),
        (
            Literal["imagenet", "cifar"] | list[int],
            "cifr",
            "'cifr' is not imagenet, cifar or a list of integers; did you mean cifar?",
        ),
    ],
)
def test_a_value_of_another_type_is_rejected_with_the_types_name(kind, value, sentence):
    with pytest.raises(ValueError) as error:
        coerce(kind, value, {})
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("value", "rules", "sentence"),
    [
        (-1, {"above": 0}, "-1 is out of range (above 0)"),
        (1.0, {"at_least": 0, "below": 1}, "1.0 is out of range (at least 0, below 1)"),
        (float("nan"), {"above": 0}, "nan is out of range (above 0)"),
        (float("inf"), {}, "inf is out of range (finite)"),
    ],
)
def test_a_number_out_of_range_is_rejected_with_the_range(value, rules, sentence):
    with pytest.raises(ValueError) as error:
        coerce(float, value, rules)
    assert str(error.value) == sentence


def test_ranges_and_lengths_hold_for_lists():
    rules = {"length": 2, "above": 0}
    assert coerce(list[float], [1, 2], rules) == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"^0 is out of range \(above 0\)$"):
        coerce(list[float], [0, 2], rules)
    with pytest.raises(ValueError, match=r"^has 3 values but needs 2$"):
        coerce(list[float], [1, 2, 3], rules)


def test_nested_lists_have_names():
    assert describe_type(list[list[int]]) == "a list of lists of integers"
