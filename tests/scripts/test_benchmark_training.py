"""scripts/benchmark_training.py: turns, records, memory, logs, and one tiny run; no speeds."""

import csv
import importlib
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
from mobilenets.models import count_macs

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def benchmark(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("benchmark_training")


@pytest.fixture
def make_case(benchmark):
    """make_case(net="v2", ...) -> a comparison, at 32 pixels unless it says otherwise."""

    def make(net="v2", width=0.25, size=32, strides="imagenet", data="", **sizes):
        sizes = {"batch_size": 4, "warmup": 2, "steps": 3} | sizes
        return benchmark.Comparison(net, width, size, strides, **sizes, data=str(data))

    return make


def read(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


# turns and records


def test_systems_take_turns_and_sit_out_what_they_cannot_train(benchmark, make_case):
    systems = {
        "resident": benchmark.SYSTEMS["resident"],
        "script": benchmark.systems.make_script("torchvision", Path("train.py"), tuned=False),
    }
    small, whole = make_case("v1"), make_case("v2", width=1.0)
    assert list(benchmark.schedule([small, whole], systems, 2)) == [
        *[(small, "resident")] * 2,
        *[(whole, "resident"), (whole, "script")] * 2,
    ]


def test_small_images_are_compared_with_both_strides(benchmark, tmp_path):
    args = benchmark.make_parser().parse_args(["--nets", "v1", "--widths", "1"])
    cases = benchmark.make_comparisons(args, tmp_path)
    expected = [(32, "cifar", 128), (32, "imagenet", 128), (224, "imagenet", 32)]
    assert [(case.size, case.strides, case.batch_size) for case in cases] == expected


@pytest.fixture
def records(benchmark, make_case):
    """Ours and its limits in three rounds, and a system that failed."""
    case, more = make_case(), {"first_step_seconds": 4.25, "peak_memory_mib": 512.0}
    speeds = {
        "ours": [90.0, 10.0, 95.0],
        "resident": [100.0, 110.0, 90.0],
        "timm": [],
        "eval-ours": [300.0],
        "eval-resident": [150.0],
    }
    return benchmark.training.make_records(
        {
            (case, name): [{"images_per_second": x, "data_wait_share": 0.02, **more} for x in runs]
            for name, runs in speeds.items()
        }
    )


def test_csv_has_medians_spread_and_the_share_of_the_limit(benchmark, records, tmp_path):
    benchmark.write_csv(tmp_path / "benchmark.csv", records)
    text = (tmp_path / "benchmark.csv").read_text()
    assert text.startswith(
        "net,width,resolution,strides,system,macs,images_per_second,images_per_second_lowest,"
        "images_per_second_highest,share_of_limit,first_step_seconds,peak_memory_mib,"
        "data_wait_share,batch_size,runs\n"
        "v2,0.25,32,imagenet,ours,745888,90.0,10.0,95.0,0.9,4.25,512.0,0.02,4,3\n"
    )
    _, resident, timm, evaluation, _ = read(tmp_path / "benchmark.csv")
    assert (resident["images_per_second"], resident["share_of_limit"]) == ("100.0", "1.0")
    assert (timm["images_per_second"], timm["share_of_limit"], timm["runs"]) == ("", "", "0")
    assert evaluation["share_of_limit"] == "2.0"  # of eval-resident


def test_the_table_is_aligned_and_leaves_out_what_is_unknown(benchmark, records):
    head, space, ours, _, timm, *_ = benchmark.training.format_comparisons(records).splitlines()
    assert space == ""
    words = "v2 0.25 32 imagenet ours 0.7 M 90.0 10.0 95.0 0.90 4.2 s 512 MiB 2% 4 3"
    assert " ".join(ours.split()) == words
    assert " ".join(timm.split()) == "v2 0.25 32 imagenet timm 0.7 M 4 0"
    assert head.index("system") == ours.index("ours") == timm.index("timm")


def test_the_picture_shows_shares_of_the_limit_or_speeds(benchmark, records, tmp_path):
    training, evaluation = benchmark.training.make_panels(records)
    assert [(line.label, line.y) for line in training.lines] == [("ours", [0.9]), ("resident", [1])]
    assert [line.label for line in evaluation.lines] == ["eval-ours", "eval-resident"]
    (alone,) = benchmark.training.make_panels([{**records[0], "share_of_limit": None}])
    assert alone.lines[0].y == [90.0]
    benchmark.draw(tmp_path / "picture.png", "machine", [training, evaluation, alone])
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width > 500


# measurement


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux counts PSS")
def test_memory_is_that_of_the_process_and_its_children():
    from benchmarks.process import measure_memory

    alone = measure_memory(os.getpid())
    code = "held = b'x' * 2**26; print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
        child.stdout.readline()
        both, its = measure_memory(os.getpid()), measure_memory(child.pid)
        child.communicate(b"\n")
    assert its > 2**26
    assert both > alone + 2**26 - 2**24  # pages that both share are divided


def test_without_proc_memory_stays_unknown(monkeypatch, tmp_path):
    from benchmarks import process

    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process.measure_memory(os.getpid()) is None
    command = [sys.executable, "-c", ""]
    assert process.run_system(command, tmp_path, (1,), tuned=False) == ([], None)


STEPS = """
import torch
parameter = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.SGD([parameter], lr=0.1)
for step in range(3):
    parameter.sum().backward()
    optimizer.step()
"""


def test_the_clock_times_the_steps_of_a_script_that_knows_nothing_of_it(benchmark, tmp_path):
    (tmp_path / "train.py").write_text(STEPS)
    command = [sys.executable, "train.py"]
    (first, third), _ = benchmark.run_system(command, tmp_path, (1, 3, 9), tuned=False)
    assert 0 < first <= third  # there is no ninth


def test_a_system_that_fails_or_stops_early_says_so(benchmark, make_case, tmp_path):
    def measure(code):
        system = benchmark.System("", "", lambda _: [sys.executable, "-c", code], lambda *_: {})
        benchmark.training.measure(system, make_case(), tmp_path)

    with pytest.raises(benchmark.RunError, match="exit code 3: no data"):
        measure("import sys; print('no data', file=sys.stderr); sys.exit(3)")
    with pytest.raises(benchmark.RunError, match="trained fewer than 5 steps"):
        measure("pass")


# baselines


@pytest.mark.parametrize("net", ["v1", "v2"])
@pytest.mark.parametrize(("width", "size", "strides"), [(0.25, 32, "cifar"), (1.0, 64, "imagenet")])
def test_baselines_nets_cost_what_ours_cost(make_case, net, width, size, strides):
    from benchmarks import baselines

    case = make_case(net, width, size, strides)
    with torch.device("meta"):
        theirs = [build(case) for build in (baselines.timm_net, baselines.torchvision_net)]
    assert {count_macs(net, (3, size, size)) for net in theirs} == {case.macs}


TIMM_LOG = (
    "Train: 0 [   {i}/5 ( 20%)]  Loss: 2.3 (2.3)  Time: {time}s,   94.12/s  ({time}s,   94.12/s)  "
    "LR: 1.000e-05  Data: {data} (1.110)\n"
)
TORCHVISION_LOG = (
    "Epoch: [0]  [ {i}/30]  eta: 0:01:00  lr: 0.1  img/s: 16.9  loss: 2.3  time: {time}  "
    "data: {data}\nTest:   [ 0/30]  eta: 0:00:10  loss: 2.3  time: 1.0  data: 1.0\n"
)


@pytest.mark.parametrize(
    ("owner", "line", "share"),
    [
        ("timm", TIMM_LOG, 0.25),  # after the warm-up of two steps
        ("torchvision", TORCHVISION_LOG, 0.375),  # at its end, which is the mean of 20 steps
        ("timm", "epoch {i}: {time} images/s\n", None),  # an unknown format
    ],
)
def test_waiting_is_read_from_the_logs_of_scripts(
    benchmark, make_case, tmp_path, owner, line, share
):
    times = [("9.000", "8.000"), ("9.000", "8.000"), (0.4, 0.05), (0.4, 0.1), (0.4, 0.15)]
    lines = [line.format(i=i, time=time, data=data) for i, (time, data) in enumerate(times)]
    (tmp_path / "output.txt").touch()
    (tmp_path / "errors.txt").write_text("".join(lines))  # where timm's logger writes
    system = benchmark.systems.make_script(owner, Path("train.py"), tuned=False)
    expected = {"data_wait_share": pytest.approx(share)} if share else {}
    assert system.read(tmp_path, make_case()) == expected


def test_waiting_is_the_share_of_time_before_a_batch():
    from benchmarks.baselines import TimedLoader

    batches = TimedLoader([1, 2, 3])
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
    assert len(list((tmp_path / "32" / "tree" / "train").rglob("*.png"))) == 23


def test_large_images_are_a_tree_drawn_or_given(tmp_path):
    from benchmarks import images

    images.make_large(tmp_path / "drawn", 20, None)
    drawn, given = tmp_path / "drawn" / "tree", tmp_path / "given" / "tree"
    trees, _ = find_trees(str(drawn))
    counts = {split: sum(map(len, tree.paths.values())) for split, tree in trees.items()}
    assert counts == {"train": 20, "test": 10}
    with Image.open(next((drawn / "train").rglob("*.jpg"))) as image:
        assert image.size == images.PHOTO_SIZE
    images.make_large(tmp_path / "given", 20, drawn)
    assert len(list(images.find_images(given / "train"))) == 20
    assert len(list(islice(images.iterate_small(drawn / "train"), 99))) == 20
    with pytest.raises(ValueError, match=r"has 20 images .* takes 21: lower --steps"):
        images.make_large(tmp_path / "more", 21, drawn)


# the command line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rounds", "0"], "'0' is not a whole number of 1 or more"),
        (["--systems", "keras"], "--systems 'keras' is unknown; did you mean"),
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
    assert "threads" in result.stdout.splitlines()[0] and "ours" in result.stdout
