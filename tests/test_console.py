"""Output of the commands: lines, errors, numbers, tables, progress."""

import argparse
import io
import logging
import sys
from pathlib import Path

import pytest

from mobilenets import console
from mobilenets.console import (
    OneLineParser,
    StderrHandler,
    StdoutHandler,
    first_line,
    format_table,
    label_lines,
    number,
    print_errors,
    progress,
    relative,
)


@pytest.mark.parametrize(
    ("handler", "stream"), [(StdoutHandler, "stdout"), (StderrHandler, "stderr")]
)
def test_messages_go_to_the_stream_of_the_moment(handler, stream, monkeypatch):
    one, other, log = io.StringIO(), io.StringIO(), handler()
    for file in (one, other):
        monkeypatch.setattr(sys, stream, file)
        log.emit(logging.makeLogRecord({"msg": "hello"}))
    assert one.getvalue() == other.getvalue() == "hello\n"


def test_the_first_of_several_lines_has_a_label():
    assert label_lines("data", "digits") == "data    digits"
    assert label_lines("note", "one", "two") == "note    one\n        two"
    assert label_lines("see it", "tensorboard", width=13) == "see it       tensorboard"


def test_a_path_is_shown_as_it_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative(tmp_path / "runs/x") == "runs/x"
    assert relative(Path("/")) == "/"


def test_errors_are_lines_of_standard_error(capsys):
    print_errors("one", ValueError("two"))
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


def test_an_error_within_a_sentence_is_its_type_and_first_line():
    assert first_line(ValueError("\nbad value\nmore")) == "ValueError: bad value"
    assert first_line(KeyError()) == "KeyError"


def test_a_wrong_command_line_is_one_sentence(capsys):
    parser = OneLineParser(prog="export.py")
    parser.add_argument("--size", type=number(int, at_least=1))
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--size", "0"])
    assert stop.value.code == 2
    sentence = "export.py: argument --size: '0' is not a whole number of 1 or more\n"
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(
    ("parse", "good", "bad", "reason"),
    [
        (
            number(int, at_least=1),
            {"1": 1, "07": 7},
            ("0", "1.5", "x", ""),
            "a whole number of 1 or",
        ),
        (number(float, above=0), {"1e-3": 1e-3}, ("0", "-1", "inf", "nan"), "a number above 0"),
        (number(float, at_least=0), {"0": 0.0}, ("-0.1", "inf", "nan"), "a number of 0 or more"),
    ],
)
def test_numbers_are_checked(parse, good, bad, reason):
    assert {text: parse(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{text!r} is not {reason}"):
            parse(text)


HEADER, ROWS = ("net", "top-1", "note"), [("v1", 70.9, None), ("mobilenet_v2", 72, "[bold]a, b")]


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (
            "text",
            "net           top-1        note\nv1             70.9\nmobilenet_v2     72  [bold]a, b",
        ),
        (
            "markdown",
            "| net          | top-1 |       note |\n"
            "|--------------|------:|-----------:|\n"
            "| v1           |  70.9 |            |\n"
            "| mobilenet_v2 |    72 | [bold]a, b |",
        ),
        ("csv", 'net,top-1,note\nv1,70.9,\nmobilenet_v2,72,"[bold]a, b"'),
    ],
)
def test_a_table_has_three_styles(style, text):
    assert format_table(HEADER, ROWS, style) == text


def test_columns_can_be_aligned_left():
    lines = format_table(HEADER, ROWS, "markdown", left=(0, 2)).splitlines()
    assert lines[1] == "|--------------|------:|------------|"
    assert lines[2] == "| v1           |  70.9 |            |"
    assert lines[3] == "| mobilenet_v2 |    72 | [bold]a, b |"


def test_long_cells_are_not_cut():
    assert "x" * 500 in format_table(("a",), [("x" * 500,)])


def test_progress_in_a_file_is_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    now = iter([0, 10, 31, 40])  # seconds: at the start, then after each image
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    file = io.StringIO()
    with progress(3, file) as advance:
        for _ in range(3):
            advance()
    assert file.getvalue() == (
        "done    2 of 3 images, 0 a second\ndone    3 of 3 images, 0 a second\n"
    )


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with progress(2, file) as advance:
        advance()
        advance()
    assert "2/2" in file.getvalue() and "images," in file.getvalue()
