"""The report says which net was loaded and what became of every tensor."""

from pathlib import Path

from mobilenets.weights import Report, Weights

WEIGHTS = Weights(
    source="net.h5",
    path=Path("net.h5"),
    origin="Keras",
    model="mobilenet_v1",
    options={"width_mult": 0.5, "num_classes": 3, "padding": "symmetric", "dropout": 0.5},
    state_dict={},
    class_names=[],
    preprocessing={},
)


def test_a_report_names_the_net_and_options_that_are_not_defaults():
    report = Report(WEIGHTS, ["a"], ["b", "c"], ["d"], [], ["a note"])
    assert str(report).splitlines() == [
        "weights net.h5",
        "        Keras: mobilenet_v1 of width 0.5, num_classes 3",
        "        4 tensors: 1 matched, 2 converted, 1 re-initialised, 0 ignored",
        "        a note",
    ]


def test_the_first_three_ignored_names_are_listed():
    assert "2 ignored (a, b)" in str(Report(WEIGHTS, [], [], [], ["a", "b"]))
    assert "4 ignored (a, b, c, ...)" in str(Report(WEIGHTS, [], [], [], list("abcd")))
