"""The command line, the records and the picture of scripts/benchmark.py, on tiny images."""

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mobilenets import create_model, save_model

SCRIPTS = Path(__file__).parents[2] / "scripts"
NETS = ("mobilenet_v1", "mobilenet_v2")
FEW = ("--rounds", "2", "--threads", "1", "--backends", "eager", "folded")
SMALL = (*NETS, "--width", "0.25", "--resolution", "32", *FEW)


@pytest.fixture(scope="module")
def benchmark():
    """The script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("benchmark")


@pytest.fixture(scope="module")
def predictions(benchmark):
    """The module that it measures with."""
    return importlib.import_module("benchmarks.predictions")


@pytest.fixture
def run(benchmark, capsys, tmp_path):
    """run(*argv) -> (exit code, standard output, standard error, rows of the CSV)."""

    def call(*argv):
        code = 0
        try:
            benchmark.main([*argv, "--output", str(tmp_path)])
        except SystemExit as stop:
            code = stop.code
        file = tmp_path / "predictions.csv"
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return code, *capsys.readouterr(), list(csv.DictReader(lines))

    return call


@pytest.fixture
def trained(tmp_path):
    """A file of a net with an accuracy."""
    file = tmp_path / "net.safetensors"
    save_model(
        create_model("mobilenet_v1", width_mult=0.25, num_classes=3, in_channels=1),
        file,
        class_names=list("abc"),
        preprocessing={"image_size": 24, "in_channels": 1, "mean": [0.5], "std": [0.5]},
        metrics={"val/top1": 0.5, "test/top1": 0.625},
    )
    return file


def test_every_combination_has_a_row_for_each_backend(run):
    code, out, _, rows = run(*SMALL, "--batch-size", "1", "2")
    assert code == 0
    assert [(row["net"], row["batch_size"], row["backend"]) for row in rows] == [
        (net, size, backend) for net in NETS for size in "12" for backend in ("eager", "folded")
    ]
    for row in rows:
        assert float(row["p5_ms"]) <= float(row["median_ms"]) <= float(row["p95_ms"])
        seconds = float(row["median_ms"]) / 1e3
        assert float(row["images_per_second"]) == pytest.approx(int(row["batch_size"]) / seconds)
        assert (row["width"], row["resolution"], row["threads"]) == ("0.25", "32", "1")
    assert [row["times_as_fast_as_eager"] for row in rows[::2]] == ["1.0"] * 4
    ratio = float(rows[0]["median_ms"]) / float(rows[1]["median_ms"])
    assert float(rows[1]["times_as_fast_as_eager"]) == pytest.approx(ratio)
    assert rows[0]["macs"] == "1088128"
    assert out.count("mobilenet_v2") == 4
    assert "note    no picture" in out


def test_published_accuracies_have_their_source(predictions):
    net = predictions.make_net("mobilenet_v2", 0.35, 96)
    assert net.top1 == 45.5
    assert "tensorflow/models" in net.source
    assert predictions.make_net("mobilenet_v2", 0.35, 32).top1 is None


def test_a_file_has_its_own_size_channels_and_accuracy(run, trained, tmp_path):
    code, out, _, rows = run(str(trained), *FEW)
    assert code == 0
    assert {(row["resolution"], row["top1_percent"]) for row in rows} == {("24", "62.5")}
    assert rows[0]["top1_source"] == f"{trained}, test split"
    assert "predictions.png" in out
    assert (tmp_path / "predictions.png").read_bytes()[:4] == b"\x89PNG"
    _, _, _, rows = run(str(trained), "--resolution", "32", *FEW)
    assert {(row["resolution"], row["top1_percent"]) for row in rows} == {("32", "")}


@pytest.fixture(scope="module")
def records(predictions):
    """Records of two nets, three widths, two resolutions and two batch sizes, not measured."""
    sizes = ((1.0, 224), (1.0, 128), (0.5, 224), (0.5, 128), (0.1, 128))
    records = []
    for net in [predictions.make_net(name, *size) for name in NETS for size in sizes]:
        for batch_size in (1, 8):
            seconds = batch_size * net.weights.options["width_mult"] / 100
            backends = {key: [seconds, 2 * seconds] for key in ("eager", "onnxruntime", "int8")}
            case = predictions.Case(net, batch_size, 2, backends)
            records += [predictions.make_record(case, name, "cpu") for name in backends]
    return records


def test_points_are_those_of_known_accuracy_at_the_first_batch_size(predictions, records):
    points = predictions.select_points(records)
    # Of width 0.1 no accuracy is known, and of int8 none at all.
    backends = [point["backend"] for point in points]
    assert (backends.count("eager"), backends.count("onnxruntime"), len(points)) == (8, 8, 16)
    keys = ("net", "backend", "width", "resolution", "macs", "median_ms", "top1_percent")
    expected = ("mobilenet_v1", "eager", 1.0, 224, 568_740_352, 15.0, 70.9)
    assert tuple(points[0][key] for key in keys) == expected


def test_a_line_goes_over_resolutions_or_where_there_is_one_over_widths(predictions, records):
    points = predictions.select_points(records)
    lines = predictions.join_points(points)
    assert len(lines) == 2 * 2 * 2  # nets, backends, widths
    for line in lines:
        assert [point["resolution"] for point in line] == [128, 224]
        assert len({(point["net"], point["backend"], point["width"]) for point in line}) == 1
    large = predictions.join_points([point for point in points if point["resolution"] == 224])
    assert [[point["width"] for point in line] for line in large] == [[0.5, 1.0]] * 4


def test_the_picture_of_many_nets_is_drawn(benchmark, predictions, records, tmp_path):
    cost, latency = predictions.make_panels(predictions.select_points(records))
    assert (len(cost.lines), len(latency.lines)) == (2 * 2, 2 * 2 * 2)
    assert list(cost.lines[0].notes) == ["", "0.5"]  # of two resolutions
    importlib.import_module("benchmarks.results").draw(tmp_path / "a.png", "title", [cost, latency])
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_the_markdown_table_has_a_line_for_each_row(predictions, records):
    from benchmarks.results import format_records

    lines = format_records(predictions.HEADINGS, records, "markdown").splitlines()
    assert len(lines) == len(records) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert "70.9 %" in lines[2] and "2.0x" not in lines[2]


def test_nets_take_turns_and_threads_are_as_they_were(predictions, monkeypatch):
    turns = []

    def load(name, weights, device):
        threads = torch.get_num_threads()
        return lambda images: turns.append((weights.model, name, threads))

    monkeypatch.setattr(predictions, "load_backend", load)
    nets = [predictions.make_net(name, 0.25, 32) for name in NETS]
    cases = [predictions.Case(net, 1, threads) for threads in (2, 1) for net in nets]
    before = torch.get_num_threads()
    groups = list(predictions.measure(cases, ["eager", "folded"], "cpu", 2))
    assert groups == [cases[:2], cases[2:]]  # those with 2 threads first
    for case in cases:
        assert [len(seconds) for seconds in case.seconds.values()] == [2, 2]
    a_round = [(net, name, 2) for net in NETS for name in ("eager", "folded")]
    assert turns[:8] == [turn for turn in a_round for _ in range(2)]  # to settle, and to measure
    assert {threads for *_, threads in turns[len(turns) // 2 :]} == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mobilenet_2"], "there is no net or file mobilenet_2: nets are mobilenet_"),
        (["--backends", "fold"], "folded"),
        (["--device", "tpu"], "--device tpu: "),
        (["--rounds", "1"], "'1' is not a whole number of 2 or more"),
        (["--width", "wide"], "'wide' is not a number above 0"),
        (["--width", "0"], "'0' is not a number above 0"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(run, argv, message):
    code, out, err, _ = run(*argv)
    assert code in (1, 2)
    assert message in err
    assert not out and err.count("\n") == 1


def test_a_missing_package_is_named_before_anything_is_measured(run, monkeypatch):
    monkeypatch.setattr("mobilenets.imports.find_spec", lambda name: None)
    code, _, err, rows = run(*SMALL, "onnxruntime")
    assert code == 1 and not rows
    assert 'pip install -e ".[export]"' in err


def test_help_loads_no_torch_and_names_every_default_backend(benchmark):
    from mobilenets.predict.backends import BACKENDS

    code = (
        "import atexit, runpy, sys; sys.argv = ['benchmark.py', '--help']; "
        "atexit.register(lambda: print('torch' in sys.modules)); "
        f"runpy.run_path({str(SCRIPTS / 'benchmark.py')!r}, run_name='__main__')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "False"
    assert set(BACKENDS) >= {*benchmark.BACKENDS, "compiled"}
    assert all(name in out for name in (*benchmark.BACKENDS, "compiled"))
