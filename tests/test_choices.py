"""Messages about unknown choices name the most similar one, and all others."""

import pytest

from mobilenets.choices import check_choice, describe_unknown, find_nearest, join_words, suggest

NETS = ("mobilenet_v1", "mobilenet_v2")


def test_similar_choices_come_first_and_different_ones_not_at_all():
    assert find_nearest("MobileNet_V2", NETS, count=2) == ["mobilenet_v2", "mobilenet_v1"]
    assert find_nearest("mobilnet_v1", NETS) == ["mobilenet_v1"]
    assert find_nearest("resnet", NETS) == []
    assert find_nearest("resnet", NETS, cutoff=0) != []
    assert find_nearest(2.1, [1.0, 2.0], cutoff=0) == ["2.0"], "numbers are compared as text"


def test_a_suggestion_is_made_only_if_a_choice_is_similar():
    assert suggest("mobilnet_v1", NETS) == "; did you mean mobilenet_v1?"
    assert suggest("resnet", NETS) == ""


def test_an_unknown_value_is_described_with_all_choices():
    text = describe_unknown("sdg", ["adamw", "sgd"])
    assert text == "unknown; did you mean sgd? Choices: adamw, sgd"
    assert describe_unknown("xyz", ["adamw", "sgd"]) == "unknown. Choices: adamw, sgd"


def test_a_value_that_is_not_a_choice_is_refused():
    check_choice("conv", "full", ("full", "separable"))
    sentence = r"^conv 'ful' is unknown; did you mean full\? Choices: full, separable$"
    with pytest.raises(ValueError, match=sentence):
        check_choice("conv", "ful", iter(("full", "separable")))


@pytest.mark.parametrize(
    ("words", "text"),
    [(["a"], "a"), (["a", "b"], "a or b"), (("a", "b", "c"), "a, b or c")],
)
def test_words_are_joined_as_in_a_sentence(words, text):
    assert join_words(words, "or") == text
