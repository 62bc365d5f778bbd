"""The command `mobilenets`: its help, its version, unknown commands and interrupts."""

import sys
from importlib import import_module

import pytest

from mobilenets import __main__, __version__


@pytest.fixture
def door(monkeypatch, capsys):
    """door("train", ...) -> (exit code, standard output, standard error)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mobilenets", *words])
        code = 0
        try:
            __main__.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_help_has_a_line_for_every_command(door):
    for words in ((), ("--help",)):
        code, out, _ = door(*words)
        assert code == 0
        assert all(f"  {name}" in out for name in __main__.COMMANDS)


def test_every_command_is_a_module_with_help_of_its_own(door):
    assert len(__main__.COMMANDS) >= 5
    for name in __main__.COMMANDS:
        import_module(f"mobilenets.commands.{name.replace('-', '_')}")
        code, out, _ = door(name, "--help")
        assert code == 0 and "EXAMPLES" in out and "SETTINGS" in out


def test_the_version_is_printed(door):
    assert door("--version") == (0, f"mobilenets {__version__}\n", "")


def test_an_unknown_command_is_one_sentence(door):
    code, out, err = door("trian")
    assert (code, out) == (2, "")
    assert err.startswith("error: command 'trian' is unknown; did you mean train? Choices: train,")


def test_an_interrupt_before_the_command_listens_is_answered(door, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "import_module", interrupt)
    assert door("train") == (130, "", "interrupted\n")
