"""The command predict: what it prints and writes, and its errors."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets import Predictor, create_model
from mobilenets.console import progress
from mobilenets.weights import save_model

ROOT = Path(__file__).parents[2]
ODD = "odd [1], a=b (2) 'x'.png"


@pytest.fixture
def predict(script, tmp_path, randomise):
    torch.manual_seed(0)
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=4, shallow=True))
    expected = {"image_size": 32, "in_channels": 3, "mean": [0.5], "std": [0.5], "crop_pct": 1.0}
    expected["interpolation"] = "bilinear"
    names = ["cat", "dog", "a, b", "fish"]
    save_model(net, tmp_path / "net.safetensors", class_names=names, preprocessing=expected)
    (tmp_path / "photos").mkdir()
    for i, name in enumerate(["a.png", "b.png", ODD]):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return lambda *words: script("scripts/predict", "checkpoint=net.safetensors", *words)


def test_a_table_of_a_folder(predict):
    code, out, _ = predict("input=photos", "topk=2")
    assert code == 0
    lines = out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [
        "photos/a.png", "photos/b.png", f"photos/{ODD}",
    ]  # fmt: skip
    (name, probability), _ = Predictor("net.safetensors")("photos/a.png").top(2)
    assert f"{name} {probability:.1%}, " in lines[0]


def test_words_are_literal_paths(predict):
    code, out, _ = predict("input=photos/a.png", f"photos/{ODD}", "format=jsonl", "photos/b.png")
    assert code == 0
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert paths == ["photos/a.png", f"photos/{ODD}", "photos/b.png"]
    assert len(predict("input=photos/[ab].png", "format=jsonl")[1].splitlines()) == 2


def test_paths_in_settings_are_literal_too(predict, script):
    odd = "net [1], a=b (2).safetensors"
    Path("net.safetensors").rename(odd)
    words = (f"checkpoint={odd}", "input=photos", "output=[b], c.txt")
    assert script("scripts/predict", *words)[0] == 0
    assert len(Path("[b], c.txt").read_text().splitlines()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_names_that_are_not_text_are_escaped(format, predict, monkeypatch):
    name = os.fsdecode(b"photos/\xff\xe9.png")
    Path("photos/a.png").rename(name)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(name))))
    code, out, _ = predict("input=-", f"format={format}")
    assert code == 0
    assert "photos/\\udcff\\udce9.png" in out
    if format == "jsonl":
        assert json.loads(out)["path"] == name


def test_json_lines_and_csv_agree(predict):
    lines = predict("input=photos", "format=jsonl", "topk=9")[1].splitlines()
    rows = list(csv.DictReader(io.StringIO(predict("input=photos", "format=csv", "topk=9")[1])))
    assert len(lines) == len(rows) == 3
    for line, row in zip(map(json.loads, lines), rows, strict=True):
        assert row["path"] == line["path"]
        assert len(line["predictions"]) == 4
        for i, answer in enumerate(line["predictions"], 1):
            assert row[f"class_{i}"] == answer["class"]
            assert float(row[f"probability_{i}"]) == pytest.approx(answer["probability"])


def test_the_lines_go_to_a_file(predict):
    code, out, err = predict("input=photos", "format=csv", "output=answers, all.csv")
    assert (code, out) == (0, "")
    assert len(Path("answers, all.csv").read_text().splitlines()) == 4
    assert "file    answers, all.csv" in err


def test_a_list_on_standard_input(predict, monkeypatch):
    listed = io.BytesIO(f"photos/b.png\nphotos/{ODD}\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(listed))
    code, out, _ = predict("input=-", "format=jsonl")
    assert code == 0
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert paths == ["photos/b.png", f"photos/{ODD}"]


def test_bad_files_are_named_and_counted_and_the_others_predicted(predict):
    Path("photos/bad.png").write_bytes(b"nothing")
    code, out, err = predict("input=photos", "gone.jpg")
    assert code == 1
    assert len(out.splitlines()) == 3
    assert "bad     photos/bad.png can't be read as an image (not an image" in err
    assert "bad     gone.jpg: no such file" in err
    assert err.splitlines()[-1] == (
        "error: 2 of the inputs could not be read; they are named above"
    )


def test_no_overlay_overwrites_another(predict):
    Path("photos/deep").mkdir()
    Path("photos/deep/a.png").write_bytes(Path("photos/a.png").read_bytes())
    code, _, err = predict("input=photos", "overlay=answers", "cam=true")
    assert code == 0
    names = {path.name for path in Path("answers").iterdir()}
    assert names == {"a.jpg", "b.jpg", f"{ODD[:-4]}.jpg", "a_1.jpg"}
    assert "answers: 4 images" in err
    plain = predict("input=photos/a.png", "overlay=plain")
    assert plain[0] == 0
    pictures = []
    for folder in ("answers", "plain"):
        with Image.open(f"{folder}/a.jpg") as image:
            pictures.append(np.asarray(image, int))
    assert pictures[0].shape[1] == 400
    assert abs(pictures[0] - pictures[1]).max() > 30


def test_a_map_of_one_location_gets_a_note_that_another_layer_does_not(predict):
    words = ("input=photos/a.png", "overlay=answers", "cam=true")
    assert "note    the heat map has one location only" in predict(*words)[2]
    code, _, err = predict(*words, "cam_layer=features.5")
    assert code == 0
    assert "note" not in err


def test_a_progress_bar_on_a_terminal_leaves_standard_output_alone(capsys, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(1, sys.stderr) as advance:
        print("a line")
        advance()
    assert capsys.readouterr().out == "a line\n"
    assert "1/1" in terminal.getvalue()


def test_frames_of_a_video(predict):
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoWriter("film.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(20):
        video.write(np.full((48, 64, 3), 10 * i, np.uint8))
    video.release()
    code, out, _ = predict("input=photos/a.png", "film.avi", "format=jsonl", "overlay=answers")
    assert code == 0
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert paths == ["photos/a.png", "film.avi@0.00s", "film.avi@1.00s"]
    assert {path.name for path in Path("answers").iterdir()} == {
        "a.jpg", "film.avi@0.00s.jpg", "film.avi@1.00s.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "input: needs a value, e.g. input=photos"),
        (["input=photos", "topk=0"], 2, "topk: 0 is out of range"),
        (["input=photos", "formt=csv"], 2, "formt: did you mean format?"),
        (["input="], 2, "input: needs a value, e.g. input=photos"),
        (["input=nothing"], 1, "input: there are no images in it"),
        (["input=photos", "cam=true"], 1, "add overlay=DIR"),
        (["input=photos", "overlay=o", "cam=true", "cam_layer=x"], 1, "the net has no layer 'x'"),
    ],
)
def test_mistakes(words, code, sentence, predict):
    found, _, err = predict(*words)
    assert found == code
    assert sentence in err


def test_a_reader_may_close_the_pipe_early(predict):
    command = f"{sys.executable} {ROOT}/scripts/predict.py checkpoint=net.safetensors input=photos"
    done = subprocess.run(
        f"set -o pipefail; {command} | true", shell=True, executable="/bin/bash",
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()
