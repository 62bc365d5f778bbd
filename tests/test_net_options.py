"""The table of the nets' options, against the constructors that read it."""

import subprocess
import sys
from inspect import signature
from typing import get_args, get_type_hints

import pytest

from mobilenets.models import MODELS, MobileNetV1, MobileNetV2
from mobilenets.models.blocks import ACTIVATIONS
from mobilenets.net_options import NET_OPTIONS, Activation, Option, check_options

NETS = [MobileNetV1, MobileNetV2]


@pytest.mark.parametrize("net", NETS)
def test_every_option_of_a_constructor_is_in_the_table_with_its_type(net):
    hints = get_type_hints(net.__init__)
    for name in signature(net).parameters:
        if name not in ("strides", "stages"):  # sequences in Python, lists in YAML
            assert NET_OPTIONS[name].type == hints[name], name


def test_every_option_in_the_table_belongs_to_a_net():
    assert set(NET_OPTIONS) <= {
        name for net in MODELS.values() for name in signature(net).parameters
    }


def test_every_activation_has_a_module():
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("net", NETS)
def test_a_constructor_rejects_what_the_table_rejects(net):
    for name in signature(net).parameters:
        for value in ("nonsense", -1, {}):
            with pytest.raises(ValueError, match=rf"\b{name}\b"):
                net(**{name: value})


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (Option(int, "", at_least=0), [0, 3], [-1, 1.0, True, None, "3"]),
        (Option(int | None, "", at_least=1), [None, 1], [0, 1.5]),
        (Option(float, "", at_least=0, at_most=1), [0, 0.5, 1.0], [-0.1, 1.1, float("nan"), None]),
        (Option(bool, ""), [True, False], [1, 0, None, "true"]),
        (NET_OPTIONS["padding"], ["same", "symmetric"], ["valid", None, 1]),
        (NET_OPTIONS["output_stride"], [32, 16, 8], [4, 32.0, "32", None]),
    ],
)
def test_an_option_has_a_type_and_a_range(option, good, bad):
    for value in good:
        option.check("x", value)
    for value in bad:
        with pytest.raises(ValueError, match=r"^x[= ]"):
            option.check("x", value)


def test_names_that_are_not_in_the_table_are_ignored():
    check_options(self=None, dropout=0.5, something=-1)
    with pytest.raises(ValueError, match=r"^dropout=2 must be a number"):
        check_options(something=-1, dropout=2)


def test_the_table_needs_no_torch():
    program = "import sys, mobilenets.net_options; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
