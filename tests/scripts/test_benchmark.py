"""The command line, the figures and the picture of scripts/benchmark.py, on tiny images."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mobilenets.predict.backends
from mobilenets import create_model, save_model

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
FEW = ("--rounds", "2", "--threads", "1", "--backends", "eager", "folded")
SMALL = ("mobilenet_v1", "mobilenet_v2", "--width", "0.25", "--resolution", "32", *FEW)


@pytest.fixture
def modules(monkeypatch):
    """The script, and the module that it measures with."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from benchmarks import predictions

    yield module, predictions
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def run(modules, capsys, tmp_path):
    """run(*argv) -> (exit code, standard output, standard error, rows of the CSV)."""

    def call(*argv):
        code = 0
        try:
            modules[0].main([*argv, "--output", str(tmp_path / "out")])
        except SystemExit as stop:
            code = stop.code
        file = tmp_path / "out" / "predictions.csv"
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
        (net, size, backend)
        for net in ("mobilenet_v1", "mobilenet_v2")
        for size in "12"
        for backend in ("eager", "folded")
    ]
    for row in rows:
        assert float(row["p5_ms"]) <= float(row["median_ms"]) <= float(row["p95_ms"])
        seconds = float(row["median_ms"]) / 1e3
        assert float(row["images_per_second"]) == pytest.approx(int(row["batch_size"]) / seconds)
        assert (row["width"], row["resolution"], row["threads"]) == ("0.25", "32", "1")
    assert [row["times_as_fast_as_eager"] for row in rows[::2]] == ["1.0"] * 4
    ratio = float(rows[0]["median_ms"]) / float(rows[1]["median_ms"])
    assert float(rows[1]["times_as_fast_as_eager"]) == pytest.approx(ratio)
    assert [row["macs"] for row in rows[:1]] == ["1088128"]
    assert out.count("mobilenet_v2") == 4
    assert "note  no picture" in out


def test_published_accuracies_have_their_source(modules):
    _, predictions = modules
    net = predictions.from_name("mobilenet_v2", 0.35, 96)
    assert net.top1 == 45.5
    assert "tensorflow/models" in net.source
    assert predictions.from_name("mobilenet_v2", 0.35, 32).top1 is None


def test_a_file_has_its_own_size_channels_and_accuracy(run, trained):
    code, out, _, rows = run(str(trained), *FEW)
    assert code == 0
    assert {(row["resolution"], row["top1_percent"]) for row in rows} == {("24", "62.5")}
    assert rows[0]["top1_source"] == f"{trained}, test split"
    assert "predictions.png" in out
    _, _, _, rows = run(str(trained), "--resolution", "32", *FEW)
    assert {(row["resolution"], row["top1_percent"]) for row in rows} == {("32", "")}


def test_the_picture_is_a_png_of_what_has_an_accuracy(run, trained, tmp_path):
    run(str(trained), *FEW)
    assert (tmp_path / "out" / "predictions.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def rows(modules):
    """Rows of two nets, three widths, two resolutions and two batch sizes, not measured."""
    _, predictions = modules
    made = []
    for net in ("mobilenet_v1", "mobilenet_v2"):
        for width, resolution in ((1.0, 224), (1.0, 128), (0.5, 224), (0.5, 128), (0.1, 128)):
            found = predictions.from_name(net, width, resolution)
            for size in (1, 8):
                case = predictions.Case(found, size, 2)
                for backend in ("eager", "onnxruntime", "int8"):
                    seconds = [size * width / 100, size * width / 50]
                    made.append(predictions.Row(case, backend, "cpu", seconds))
    return made


def test_points_are_those_of_known_accuracy_at_the_first_batch_size(modules, rows):
    _, predictions = modules
    points = predictions.points(rows)
    nets = 2 * 4  # of width 0.1 nothing is known
    assert len([point for point in points if point.backend is None]) == nets
    assert len([point for point in points if point.backend == "eager"]) == nets
    assert len([point for point in points if point.backend == "onnxruntime"]) == nets
    assert len(points) == 3 * nets  # int8 has another accuracy
    assert points[0] == ("mobilenet_v1", None, 1.0, 224, 568.740352, 70.9)
    assert points[1] == ("mobilenet_v1", "eager", 1.0, 224, 15.0, 70.9)


def test_a_line_goes_over_resolutions_or_where_there_is_one_over_widths(modules, rows):
    _, predictions = modules
    points = predictions.points(rows)
    lines = predictions.lines(points)
    assert len(lines) == 2 * 3 * 2  # nets, backends and the cost, widths
    line = lines["mobilenet_v2", "eager", 0.5]
    assert [point.resolution for point in line] in ([128, 224], [224, 128])
    large = predictions.lines([point for point in points if point.resolution == 224])
    assert [point.width for point in large["mobilenet_v1", None, None]] == [0.5, 1.0]


def test_the_picture_of_many_nets_is_drawn(modules, rows, tmp_path):
    modules[1].draw(tmp_path / "picture.png", rows, "title")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_the_markdown_table_has_a_line_for_each_row(modules, rows):
    lines = modules[1].table(rows, "markdown").splitlines()
    assert len(lines) == len(rows) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert "70.9 %" in lines[2] and "2.0x" not in lines[2]


def test_nets_take_turns_and_threads_are_as_they_were(modules, monkeypatch):
    _, predictions = modules
    turns = []

    def start(name, weights, device):
        threads = torch.get_num_threads()
        return lambda images: turns.append((weights.model, name, threads))

    monkeypatch.setattr(predictions, "load_backend", start)
    nets = [predictions.from_name(name, 0.25, 32) for name in ("mobilenet_v1", "mobilenet_v2")]
    cases = [predictions.Case(net, 1, threads) for threads in (2, 1) for net in nets]
    before = torch.get_num_threads()
    rows = [
        row for group in predictions.measure(cases, ["eager", "folded"], "cpu", 2) for row in group
    ]
    assert [len(row.seconds) for row in rows] == [2] * 8
    assert [row.case.threads for row in rows] == [2] * 4 + [1] * 4
    a_round = [
        (net, name, 2) for net in ("mobilenet_v1", "mobilenet_v2") for name in ("eager", "folded")
    ]
    assert turns[:8] == [turn for turn in a_round for _ in range(2)]  # to settle, and to measure
    assert {threads for *_, threads in turns[len(turns) // 2 :]} == {1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mobilenet_v3"], "there is no net or file mobilenet_v3: nets are mobilenet_v1, "),
        (["--backends", "fold"], "folded"),
        (["--device", "tpu"], "--device tpu: "),
        (["--rounds", "1"], "'1' is not a whole number from 2 on"),
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

    monkeypatch.setattr(mobilenets.predict.backends, "find_spec", lambda name: None)
    code, _, err, rows = run(*SMALL, "onnxruntime")
    assert code == 1 and not rows
    assert 'pip install "mobilenets[export]"' in err


def test_help_loads_no_torch_and_names_every_default_backend(modules):
    from mobilenets.predict.backends import BACKENDS

    code = (
        "import atexit, runpy, sys; sys.argv = ['benchmark.py', '--help']; "
        "atexit.register(lambda: print('torch' in sys.modules)); "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "False"
    assert set(BACKENDS) == {*modules[0].BACKENDS, "compiled"}
    assert all(name in out for name in BACKENDS)
