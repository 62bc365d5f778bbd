"""scripts/model_table.py: its rows, styles and errors."""

import csv
import importlib.util
import io
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "model_table.py"


@pytest.fixture
def run(capsys):
    """run(*argv) -> the output of the script's main."""
    spec = importlib.util.spec_from_file_location("model_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_table"] = module
    spec.loader.exec_module(module)

    def call(*argv):
        module.main(argv)
        return capsys.readouterr().out

    yield call
    del sys.modules["model_table"]


@pytest.fixture
def read(run):
    """read(*argv) -> the rows of the script's CSV."""
    return lambda *argv: list(csv.DictReader(io.StringIO(run(*argv, "--format", "csv"))))


def test_every_width_is_combined_with_every_resolution(read):
    rows = read("mobilenet_v1", "--width", "1", "0.25", "--resolution", "224", "128")
    assert [(row["width"], row["resolution"], row["params"], row["macs"]) for row in rows] == [
        ("1", "224", "4231976", "568740352"),
        ("1", "128", "4231976", "186400768"),
        ("0.25", "224", "470072", "41030272"),
        ("0.25", "128", "470072", "13570048"),
    ]
    assert [row["paper_macs_millions"] for row in rows] == ["569", "186", "41", ""]
    assert [row["paper_top1_percent"] for row in rows] == ["70.6", "64.4", "50.6", ""]


def test_defaults_are_width_1_at_224(read):
    (row,) = read("mobilenet_v2")
    assert (row["params"], row["macs"]) == ("3504872", "300774272")
    assert row["source"] == "arXiv 1801.04381 Table 4"


def test_v2_table_4_shows_where_the_paper_differs(read):
    rows = {row["model"]: row for row in read("--paper", "v2-table-4")}
    assert rows["MobileNetV2 1.4"]["paper_params_millions"] == "6.9"
    assert rows["MobileNetV2 1.4"]["params_difference_millions"] == "-0.8"
    assert rows["MobileNetV1"]["macs_difference_millions"] == "-6"
    shufflenet = rows["ShuffleNet (1.5)"]
    assert shufflenet["params"] == shufflenet["params_difference_millions"] == ""
    assert (shufflenet["paper_macs_millions"], shufflenet["paper_top1_percent"]) == ("292", "71.5")


@pytest.mark.parametrize(
    ("table", "labels"),
    [
        ("v1-table-4", ["Conv MobileNet", "MobileNet"]),
        ("v1-table-5", ["0.75 MobileNet", "Shallow MobileNet"]),
        ("v1-table-8", ["1.0 MobileNet-224", "GoogleNet", "VGG 16"]),
    ],
)
def test_rows_of_the_papers_tables(read, table, labels):
    rows = read("--paper", table)
    assert [row["model"] for row in rows] == labels
    assert {row["params_difference_millions"] for row in rows} <= {"+0.0", ""}
    assert {row["source"] for row in rows} == {f"arXiv 1704.04861 Table {table[-1]}"}


def test_several_tables_are_printed_as_one(read):
    assert len(read("--paper", "v1-table-6", "v1-table-7")) == 8


def test_text_is_aligned_and_readable(run):
    head, first, second = run("mobilenet_v1", "--width", "1", "0.5").splitlines()
    assert head.split()[:5] == ["model", "width", "pixels", "params", "MACs"]
    assert "4,231,976" in first and "568.7 M" in first and "1,331,592" in second
    assert first.index("4,231,976") == second.index("1,331,592")


def test_markdown_is_a_table(run):
    lines = run("--paper", "v1-table-6", "--format", "markdown").splitlines()
    assert len(lines) == 6
    assert len({line.count("|") for line in lines}) == 1
    assert set(lines[1]) <= set("|:- ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mobilenet_2"], "did you mean mobilenet_v2"),
        (["mobilenet_v1", "--width", "0"], "width_mult=0.0 must be a number (above 0)"),
        (["mobilenet_v1", "--width", "wide"], "invalid float value: 'wide'"),
        (["mobilenet_v1", "--resolution", "0"], "'0' is not a whole number above 0"),
        (["--paper", "v1-table-3"], "v1-table-4"),
        (["--paper", "v1-table-4", "--width", "1"], "drop --width"),
        (["mobilenet_v1", "--paper", "v1-table-4"], "either a model or"),
        ([], "either a model or"),
    ],
)
def test_wrong_command_lines_get_one_sentence(run, capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        run(*argv)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert message in printed.err and printed.err.count("\n") == 1


def test_the_script_runs_on_its_own(script):
    code, out, _ = script("scripts/model_table", "mobilenet_v1", "--width", "0.25")
    assert code == 0 and "470,072" in out
