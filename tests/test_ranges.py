import pytest

from mobilenets.ranges import check_ints, check_number, describe_range, is_in_range


@pytest.mark.parametrize(
    ("number", "limits", "expected"),
    [
        (5, {}, True),
        (float("inf"), {}, False),
        (float("nan"), {"at_least": 0}, False),
        (0, {"above": 0}, False),
        (0, {"at_least": 0}, True),
        (1, {"below": 1}, False),
        (1, {"at_most": 1}, True),
        (2, {"at_least": 0, "at_most": 1}, False),
        (1, {"meaning": "ignored"}, True),
    ],
)
def test_a_range_has_the_limits_that_are_given(number, limits, expected):
    assert is_in_range(number, limits) is expected


def test_a_range_is_described_by_its_limits():
    assert describe_range({"at_most": 1, "above": 0}) == "above 0, at most 1"
    assert describe_range({"meaning": "ignored"}) == "finite"


@pytest.mark.parametrize(
    ("arguments", "limits", "text"),
    [
        ((-1,), {"at_least": 0}, r"x=-1 must be a number (at least 0)"),
        (("1",), {}, "x='1' must be a number (finite)"),
        ((True,), {}, "x=True must be a number (finite)"),
        ((1.5, int), {"at_least": 1}, "x=1.5 must be an integer (at least 1)"),
        ((1.0, int), {}, "x=1.0 must be an integer (finite)"),
    ],
)
def test_an_invalid_number_is_named_with_its_range(arguments, limits, text):
    with pytest.raises(ValueError) as error:
        check_number("x", *arguments, **limits)
    assert str(error.value) == text


def test_valid_numbers_pass():
    check_number("x", 1, above=0)
    check_number("x", 0.5, above=0)
    check_ints(1, x=1, y=2)
    with pytest.raises(ValueError, match=r"^y=0 must be an integer"):
        check_ints(1, x=1, y=0, z=-1)
