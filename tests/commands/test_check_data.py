"""The command check-data: its report and its exit code."""

import os

import numpy as np
import pytest
from PIL import Image

from mobilenets.commands.check_data import check_data


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    """check("data=...") -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        code = check_data(list(overrides))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def options(tmp_path):
    """The settings for a valid tree of two classes with 6 images each."""
    for number, (name, mode) in enumerate((("cat", "RGB"), ("dog", "L"))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(6):
            shape = (20, 24 + i, 3) if mode == "RGB" else (20, 24 + i)
            pixels = np.random.default_rng((number, i)).integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    return ["data=folder", "data.root=set", "data.batch_size=4", "data.num_workers=0"]


def test_a_valid_set_has_no_problems(check, options):
    code, out, err = check(*options)
    assert (code, err) == (0, "")
    for line in (
        "note    set has no split folders: all splits are made by seed",
        "folder  set: 12 images of 2 classes, 0 bad",
        "class         6 cat",
        "sizes   24x20 to 29x20, median 26x20 (width x height)",
        "kinds   6 PNG RGB, 6 PNG L",
        "splits  8 train, 2 val, 2 test images of 2 classes",
        "result  problems: 0",
    ):
        assert line in out.splitlines(), line
    assert "copy" not in out


def test_all_problems_are_listed(check, options, tmp_path):
    cat, dog = tmp_path / "set" / "cat", tmp_path / "set" / "dog"
    (cat / "0.png").write_bytes(b"no picture")
    (dog / "5.png").write_bytes((dog / "5.png").read_bytes()[:200])
    (dog / "x.png").write_bytes((cat / "1.png").read_bytes())
    (tmp_path / "set" / "owl").mkdir()
    os.mkfifo(cat / "pipe.jpg")
    code, out, _ = check(*options, "data.num_workers=1")
    assert code == 1
    bad = sorted(line.split()[1] for line in out.splitlines() if line.startswith("bad "))
    assert bad == ["set/cat/0.png", "set/cat/pipe.jpg", "set/dog/5.png", "the"]
    assert "copy    set/dog/x.png is a copy of set/cat/1.png" in out.splitlines()
    assert "result  problems: 4" in out.splitlines()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("data.batch_size=64", "bad     the train split has 8 images, fewer than a batch of 64"),
        ("data.class_names=[cat,owl]", "no folder owl, no name for dog"),
        ("model.num_classes=3", "bad     model.num_classes: is 3, but the data has 2"),
    ],
)
def test_errors_that_a_run_would_raise_are_found(more, sentence, check, options):
    code, out, _ = check(*options, more)
    assert code == 1
    assert sentence in out


def test_undecodable_file_names_are_escaped(check, options, tmp_path):
    (tmp_path / "set" / "dog" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"not an image")
    code, out, _ = check(*options)
    assert code == 1
    assert "bad     set/dog/caf\\udce9.png can't be read as an image" in out


def test_sets_in_memory_are_read_too(check):
    code, out, _ = check("data=digits")
    assert code == 0
    assert "splits  1,259 train, 179 val, 359 test images of 10 classes" in out.splitlines()


def test_wrong_settings_are_reported_as_by_train(check):
    code, out, err = check("data=foldr", "--fast")
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "did you mean folder?" in err
    code, out, err = check("data=folder", "data.root=nowhere")
    assert (code, out) == (1, "")
    assert err.startswith("error: data.root=nowhere does not exist")


def test_help_describes_the_script(check):
    code, out, _ = check("--help")
    assert code == 0 and "python scripts/check_data.py data=folder" in out
