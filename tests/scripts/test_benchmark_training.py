"""scripts/benchmark_training.py: turns, figures, memory, logs, and one tiny run; no speeds."""

import csv
import importlib.util
import os
import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.data.cifar import read_cifar10
from mobilenets.data.folder import find_trees

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def benchmark(monkeypatch):
    """The script as a module; what it imports from scripts/ goes again afterwards."""
    monkeypatch.syspath_prepend(SCRIPTS)
    spec = importlib.util.spec_from_file_location(
        "benchmark_training", SCRIPTS / "benchmark_training.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def comparison(benchmark):
    """comparison(net="v2", ...) -> a comparison, at 32 pixels unless it says otherwise."""

    def make(net="v2", width=0.25, size=32, strides="imagenet", data="", **sizes):
        sizes = {"batch_size": 4, "warmup": 2, "steps": 3} | sizes
        return benchmark.Comparison(net, width, size, strides, **sizes, data=str(data))

    return make


def read(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


# turns and figures


def test_contenders_take_turns_and_sit_out_what_they_cannot_train(benchmark, comparison):
    systems = {
        "resident": benchmark.SYSTEMS["resident"],
        "script": benchmark.torchvision_script(Path("train.py"), tuned=False),
    }
    small, whole = comparison("v1"), comparison("v2", width=1.0)
    turns = [
        (comparison, name) for comparison, name in benchmark.schedule([small, whole], systems, 2)
    ]
    assert turns == [
        *[(small, "resident")] * 2,
        *[(whole, "resident"), (whole, "script")] * 2,
    ]


def test_small_images_are_compared_with_both_strides(benchmark, tmp_path):
    args = benchmark.make_parser().parse_args(["--nets", "v1", "--widths", "1"])
    comparisons = benchmark.make_comparisons(args, tmp_path)
    assert [
        (comparison.size, comparison.strides, comparison.batch_size) for comparison in comparisons
    ] == [
        (32, "cifar", 128),
        (32, "imagenet", 128),
        (224, "imagenet", 32),
    ]


@pytest.fixture
def rows(benchmark, comparison):
    """Ours and its limits in three rounds, and a system that failed."""
    runs = {
        "ours": [90.0, 10.0, 95.0],
        "resident": [100.0, 110.0, 90.0],
        "timm": [],
        "eval-ours": [300.0],
        "eval-resident": [150.0],
    }
    more = {"macs": 745888, "first_step": 4.25, "memory": 512 * 2**20, "waiting": 0.02}
    return [
        benchmark.Row(
            comparison(), name, [{"images_per_second": speed, **more} for speed in speeds]
        )
        for name, speeds in runs.items()
    ]


def test_csv_has_medians_spread_and_the_share_of_the_limit(rows, tmp_path):
    from benchmarks.results import write_csv

    write_csv(tmp_path / "benchmark.csv", rows)
    ours, resident, timm, evaluation, _ = read(tmp_path / "benchmark.csv")
    assert ours == {
        "net": "v2",
        "width": "0.25",
        "resolution": "32",
        "strides": "imagenet",
        "system": "ours",
        "macs": "745888",
        "images_per_second": "90.0",
        "images_per_second_lowest": "10.0",
        "images_per_second_highest": "95.0",
        "share_of_limit": "0.9",
        "first_step_seconds": "4.25",
        "peak_memory_mib": "512.0",
        "data_wait_share": "0.02",
        "batch_size": "4",
        "runs": "3",
    }
    assert (resident["images_per_second"], resident["share_of_limit"]) == ("100.0", "1.0")
    assert (timm["images_per_second"], timm["share_of_limit"], timm["runs"]) == ("", "", "0")
    assert evaluation["share_of_limit"] == "2.0"  # of eval-resident


def test_the_table_is_aligned_and_leaves_out_what_is_unknown(rows):
    from benchmarks.results import table

    head, space, ours, _, timm, *_ = table(rows).splitlines()
    assert space == ""
    words = "v2 0.25 32 imagenet ours 0.7 M 90.0 10.0 95.0 0.90 4.2 s 512 MiB 2% 4 3"
    assert " ".join(ours.split()) == words
    assert " ".join(timm.split()) == "v2 0.25 32 imagenet timm 4 0"
    assert head.index("system") == ours.index("ours") == timm.index("timm")


def test_the_picture_is_drawn_with_and_without_a_limit(rows, tmp_path):
    from benchmarks.results import draw

    for name, drawn in (("all", rows), ("one", [row for row in rows if row.system == "ours"])):
        draw(tmp_path / f"{name}.png", drawn, "machine")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 500


# measurement


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux counts PSS")
def test_memory_is_that_of_the_process_and_its_children():
    from benchmarks.process import tree_pss

    alone = tree_pss(os.getpid())
    code = "held = b'x' * 2**26; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        both, its = tree_pss(os.getpid()), tree_pss(child.pid)
        child.communicate(b"\n")
    assert its > 2**26
    assert both > alone + 2**26 - 2**24  # pages that both share are divided


def test_without_proc_memory_stays_unknown(monkeypatch, tmp_path):
    from benchmarks import process

    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process.tree_pss(os.getpid()) is None
    assert process.run([sys.executable, "-c", ""], tmp_path, (1,), tuned=False).peak is None


STEPS = """
import torch
parameter = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([parameter], lr=0.1)
for step in range(3):
    parameter.sum().backward()
    optimizer.step()
"""


def test_the_clock_dates_the_steps_of_a_script_that_knows_nothing_of_it(tmp_path):
    from benchmarks.process import run

    (tmp_path / "train.py").write_text(STEPS)
    seen = run([sys.executable, "train.py"], tmp_path, (1, 3, 9), tuned=False)
    assert seen.returncode == 0
    first, third = seen.marks  # there is no ninth
    assert 0 < first <= third


def test_a_contender_that_fails_or_stops_early_says_so(benchmark, comparison, tmp_path):
    def system(code):
        return benchmark.System("", lambda _: [sys.executable, "-c", code], lambda *_: {})

    with pytest.raises(benchmark.SystemFailedError, match="exit code 3: no data"):
        fails = system("import sys; print('no data', file=sys.stderr); sys.exit(3)")
        benchmark.measure(fails, comparison(), tmp_path)
    with pytest.raises(benchmark.SystemFailedError, match="trained fewer than 5 steps"):
        benchmark.measure(system("pass"), comparison(), tmp_path)


# baselines


@pytest.mark.parametrize("net", ["v1", "v2"])
@pytest.mark.parametrize(("width", "size", "strides"), [(0.25, 32, "cifar"), (1.0, 64, "imagenet")])
def test_peers_nets_cost_what_ours_costs(comparison, net, width, size, strides):
    from benchmarks import baselines, systems

    compared = comparison(net, width, size, strides)
    with torch.device("meta"):
        ours = systems.count_macs(systems.our_net(compared), compared)
        theirs = {
            systems.count_macs(build(compared), compared)
            for build in (baselines.timm_net, baselines.torchvision_net)
        }
    assert theirs == {ours}


def test_timms_log_is_read_after_the_warm_up(comparison, tmp_path):
    from benchmarks.systems import read_timm_log

    lines = [
        f"Train: 0 [{i:4d}/5 ( 20%)]  Loss: 2.3 (2.3)  Time: {time}s,   94.12/s  ({time}s, "
        f"  94.12/s)  LR: 1.000e-05  Data: {data} (1.110)\n"
        for i, (time, data) in enumerate([("9.000", "8.000")] * 2 + [("0.400", "0.100")] * 3)
    ]
    (tmp_path / "output.txt").write_text("")
    (tmp_path / "errors.txt").write_text("".join(lines))  # where its logger writes
    assert read_timm_log(tmp_path, comparison()) == {"waiting": pytest.approx(0.25)}


def test_torchvisions_log_is_read_at_its_end_and_an_unknown_format_gives_nothing(
    comparison, tmp_path
):
    from benchmarks.systems import read_torchvision_log

    (tmp_path / "output.txt").write_text(
        "Epoch: [0]  [ 0/30]  eta: 0:01:00  lr: 0.1  img/s: 16.9  loss: 2.3  time: 2.0  data: 1.5\n"
        "Epoch: [0]  [20/30]  eta: 0:00:10  lr: 0.1  img/s: 16.9  loss: 2.3  time: 2.0  data: 0.5\n"
        "Test:   [ 0/30]  eta: 0:00:10  loss: 2.3  time: 1.0  data: 1.0\n"
    )
    assert read_torchvision_log(tmp_path, comparison()) == {"waiting": 0.25}
    (tmp_path / "output.txt").write_text("epoch 1: 16.9 images/s\n")
    assert read_torchvision_log(tmp_path, comparison()) == {}


def test_waiting_is_the_share_of_time_before_a_batch():
    from benchmarks.baselines import Clocked

    batches = Clocked([1, 2, 3])
    assert list(batches) == [1, 2, 3] and len(batches) == 3
    batches.times = [(0.0, 9.0), (10.0, 10.5), (11.0, 11.25), (12.0, 20.0)]
    assert batches.waiting(1) == 0.375


# images


def test_small_images_are_an_archive_that_train_py_reads_and_the_same_array(tmp_path):
    from benchmarks import images

    images.make_small(tmp_path / "32", 23, None)
    array = np.load(tmp_path / "32" / "images.npy")
    options = {"download": False, "verify": False, "class_names": None}
    splits, names = read_cifar10(root=str(tmp_path / "32"), **options)
    assert names == images.CLASSES
    assert np.array_equal(splits["train"].images.permute(0, 2, 3, 1), array)
    assert splits["train"].labels.tolist() == [i % 10 for i in range(23)]
    meta = tmp_path / "32" / "cifar-10-batches-py" / "batches.meta"
    assert pickle.loads(meta.read_bytes()) == {"label_names": images.CLASSES}
    images.make_small_tree(tmp_path / "32")
    assert len(list((tmp_path / "32" / "tree" / "train").rglob("*.png"))) == 23


def test_large_images_are_a_tree_drawn_or_given(tmp_path):
    from benchmarks import images

    images.make_tree(tmp_path / "drawn", 20, None)
    trees, _ = find_trees(str(tmp_path / "drawn"))
    assert {split: sum(map(len, tree.paths.values())) for split, tree in trees.items()} == {
        "train": 20,
        "test": 10,
    }
    file = next((tmp_path / "drawn" / "train").rglob("*.jpg"))
    with Image.open(file) as image:
        assert image.size == images.PHOTOGRAPH
    images.make_tree(tmp_path / "given", 20, tmp_path / "drawn")
    assert len(list(images._files(tmp_path / "given" / "train"))) == 20
    assert len(list(islice(images._small(tmp_path / "drawn" / "train"), 99))) == 20
    with pytest.raises(ValueError, match=r"has 20 images .* takes 21: lower --steps"):
        images.make_tree(tmp_path / "more", 21, tmp_path / "drawn")


# the command line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rounds", "0"], "'0' is not a whole number of 1 or more"),
        (["--systems", "keras"], "there is no keras, choose of ours, resident, timm"),
        (["--timm-script", "absent.py"], "--timm-script: there is no file absent.py"),
        (["--nets", "v3"], "v3"),
    ],
)
def test_wrong_command_lines_get_one_sentence(benchmark, capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(argv)
    printed = capsys.readouterr()
    assert stop.value.code in (1, 2) and printed.out == ""
    assert message in printed.err and printed.err.count("\n") == 1


@pytest.mark.slow
def test_ours_and_the_limit_are_compared_in_one_run(tmp_path):
    command = [sys.executable, str(SCRIPTS / "benchmark_training.py"), "--sizes", "32"]
    command += ["--nets", "v2", "--widths", "0.25", "--strides", "imagenet", "--rounds", "1"]
    command += ["--steps", "2", "--warmup", "2", "--batch-size", "8", "--output", str(tmp_path)]
    command += ["--systems", "ours", "resident"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    ours, resident = read(tmp_path / "benchmark.csv")
    assert (ours["system"], resident["system"]) == ("ours", "resident")
    assert ours["macs"] == resident["macs"] == "745888"
    for row in (ours, resident):
        assert float(row["images_per_second"]) > 0 and float(row["first_step_seconds"]) > 0
    assert resident["share_of_limit"] == "1.0"
    assert (tmp_path / "benchmark.png").exists()
    assert "threads of" in result.stdout.splitlines()[0] and "ours" in result.stdout
