"""The command export: what it writes, verifies, prints and rejects."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mobilenets import create_model
from mobilenets.export import FORMATS, torch_export_format
from mobilenets.weights import save_model

TINY = [
    *("model=mobilenet_v2", "model.width_mult=0.05", "model.divisor=4"),
    "model.stages=[[1,16,1,1],[6,24,1,2]]",  # exporters are slow for each layer
    *("data=fake", "data.num_samples=64", "data.val_fraction=0.3", "data.batch_size=8"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "hardware.tune=false"),
    "trainer.max_epochs=1",
]


@pytest.fixture
def export(script, finished_run, monkeypatch):
    """export("format=...", ...) -> (exit code, standard output, standard error) for a tiny run."""
    monkeypatch.setattr("mobilenets.predict.latency.BATCH_SIZES", {1: 2, 32: 2})
    finished_run(*TINY)
    return lambda *overrides: script("scripts/export", "checkpoint=run", *overrides)


def test_files_that_agree_are_accepted_and_reported(export):
    code, out, err = export("format=torch_export,safetensors", "threads=1")
    assert (code, err) == (0, "")
    assert "images  20 of fake's val split" in out
    files = {path.name for path in Path("run/export").iterdir()}
    assert files == {"mobilenet_v2_0.05.pt2", "mobilenet_v2_0.05.safetensors", "export.json"}
    report = json.loads(Path("run/export/export.json").read_text())["files"]
    entry = report["mobilenet_v2_0.05.pt2"]
    assert entry["agreement"] == 1.0
    assert entry["accuracy"] == entry["accuracy_pytorch"]
    assert (entry["images"], entry["threads"]) == (20, 1)
    assert set(entry["latency_ms"]) == {"batch 1", "batch 32"}
    assert entry["bytes"] == Path("run/export/mobilenet_v2_0.05.pt2").stat().st_size
    table = [line.split() for line in out.splitlines() if line.startswith("mobilenet_v2_0.05")]
    assert [row[0] for row in table] == ["mobilenet_v2_0.05.pt2", "mobilenet_v2_0.05.safetensors"]
    assert export("format=[torch_export]", "output=elsewhere")[0] == 0
    assert Path("elsewhere/mobilenet_v2_0.05.pt2").is_file()


def test_a_file_that_disagrees_is_rejected_and_replaces_an_accepted_one(export, monkeypatch):
    assert export("format=torch_export")[0] == 0
    load = torch_export_format.load

    def upside_down(path, num_threads=None):
        run = load(path, num_threads)
        return lambda images: -run(images)

    monkeypatch.setattr(torch_export_format, "load", upside_down)
    code, out, err = export("format=torch_export,safetensors")
    assert code == 1
    assert err.startswith("error: run/export/mobilenet_v2_0.05.pt2.rejected was rejected: it agre")
    files = {path.name for path in Path("run/export").iterdir()}
    assert "mobilenet_v2_0.05.pt2.rejected" in files
    assert "mobilenet_v2_0.05.pt2" not in files
    assert "mobilenet_v2_0.05.safetensors" in files
    assert "note    mobilenet_v2_0.05.pt2.rejected: it agrees with PyTorch on" in out
    monkeypatch.setattr(torch_export_format, "load", load)
    assert export("format=torch_export")[0] == 0
    files = {path.name for path in Path("run/export").iterdir()}
    assert "mobilenet_v2_0.05.pt2.rejected" not in files


def test_one_exporter_that_fails_does_not_stop_the_others(export, monkeypatch):
    def fail(model, path):
        path.write_bytes(b"half")
        raise NotImplementedError("aten::conv\nand more")

    monkeypatch.setattr(torch_export_format, "write", fail)
    code, _, err = export("format=torch_export,safetensors")
    assert code == 1
    assert err == "error: torch_export was not written: NotImplementedError: aten::conv\n"
    files = {path.name for path in Path("run/export").iterdir()}
    assert files == {"mobilenet_v2_0.05.safetensors", "export.json"}


def test_a_file_that_its_own_runtime_can_not_run_is_rejected(export, monkeypatch):
    write = torch_export_format.write

    def damage(model, path):
        write(model, path)
        path.write_bytes(path.read_bytes()[:1000])

    monkeypatch.setattr(torch_export_format, "write", damage)
    code, _, err = export("format=torch_export,safetensors")
    assert code == 1
    assert "mobilenet_v2_0.05.pt2.rejected was rejected: PyTorch can't run it (" in err
    files = {path.name for path in Path("run/export").iterdir()}
    assert files >= {"mobilenet_v2_0.05.pt2.rejected", "mobilenet_v2_0.05.safetensors"}


@pytest.mark.slow
def test_int8_is_judged_by_accuracy_and_the_error_names_the_fix(export, monkeypatch):
    for package in FORMATS["onnx"].packages:
        pytest.importorskip(package)
    code, out, _ = export("format=onnx", "quantize=int8", "max_drop=100", "calibration_images=9")
    assert code == 0
    assert "int8 drop" in out
    assert "features.0.0" in out
    report = json.loads(Path("run/export/export.json").read_text())["files"]
    decibels = report["mobilenet_v2_0.05_int8.onnx"]["signal_to_noise_db"]
    assert len(decibels) == 1 + 2 + 3 + 1 + 1, "the stem, both blocks, the head, the classifier"
    monkeypatch.setattr("mobilenets.export.parity.Parity.drop", 3.0)
    code, _, err = export("format=onnx", "quantize=int8", "calibration_images=9")
    assert code == 1
    assert "loses 3.00 points, more than max_drop=1" in err
    assert "python train.py experiment=qat model=mobilenet_v2 model.weights=run/best.ckpt" in err


def test_weights_without_a_run_are_verified_on_a_folder_or_on_noise(script, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilenets.predict.latency.BATCH_SIZES", {1: 2, 32: 2})
    stages = [[1, 16, 1, 1], [6, 24, 1, 2]]
    net = create_model("mobilenet_v2", width_mult=0.25, num_classes=3, stages=stages)
    expected = {"image_size": 32, "in_channels": 3, "mean": [0.5], "std": [0.5], "crop_pct": 1.0}
    expected["interpolation"] = "bilinear"
    save_model(net, tmp_path / "net.safetensors", preprocessing=expected)
    command = ["scripts/export", "checkpoint=net.safetensors", "format=torch_export"]
    code, out, _ = script(*command)
    assert code == 0
    assert "images  none (images=DIR): the files are verified on noise" in out
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (50, 40), "red").save(tmp_path / "photos" / "a.jpg")
    code, out, _ = script(*command, "images=photos", "preprocess=true")
    assert code == 0
    assert "images  photos, without labels" in out
    assert Path("export/mobilenet_v2_0.25_uint8.pt2").is_file()
    code, _, err = script(*command, "preprocess=true")
    assert (code, err.count("\n")) == (1, 1)
    assert "has no data set: give a folder of images, images=DIR" in err


def test_weights_without_preprocessing_are_an_error(script, tmp_path):
    torch.manual_seed(0)
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=3)
    save_model(net, tmp_path / "net.safetensors")
    code, _, err = script("scripts/export", "checkpoint=net.safetensors", "format=torch_export")
    assert code == 1
    assert "does not say which image_size, mean and std" in err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["format=onx"], "format: 'onx' is not onnx, torch_export"),
        ([], "format: needs a value, e.g. format=onnx,executorch"),
        (["format=onnx", "max_drop=-1"], "max_drop: -1 is out of range"),
        (["format=onnx", "quantise=int8"], "quantise: did you mean quantize?"),
    ],
)
def test_mistakes_are_answered_before_torch_is_loaded(overrides, sentence, script):
    code, _, err = script("scripts/export", "checkpoint=run", *overrides)
    assert code == 2
    assert sentence in err
