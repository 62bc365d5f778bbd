"""A graph that resizes and normalises computes the logits of evaluation."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.export import FORMATS, examples_from_folder, make_runner
from mobilenets.export.preprocessing import WithPreprocessing, _half

SIZES = [(60, 45), (45, 60), (40, 40), (200, 41), (39, 33)]


@pytest.fixture
def photographs(tmp_path):
    (tmp_path / "photographs").mkdir()
    noise = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        coarse = noise.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.save(tmp_path / "photographs" / f"{number}.png")
    return tmp_path / "photographs"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_matches_evaluation(interpolation, exportable, photographs):
    model = exportable(preprocess=True)
    model.weights.preprocessing["interpolation"] = interpolation
    run, trained = make_runner(model.net), make_runner(model.weights.build())
    examples = list(examples_from_folder(photographs, model, 10))
    assert [tuple(example.inputs.shape[1:3]) for example in examples] == SIZES
    for example in examples:
        expected = trained(example.images)
        # Rounding may differ in a pixel.
        torch.testing.assert_close(run(example.inputs), expected, rtol=0.01, atol=0.05)


@pytest.mark.parametrize(
    "format",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "openvino" else [])
        for name in FORMATS
        if FORMATS[name].can_preprocess
    ],
)
def test_it_is_a_part_of_the_exported_graph(format, exportable, photographs, tmp_path):
    kind = FORMATS[format]
    for package in kind.packages:
        pytest.importorskip(package)
    model = exportable(preprocess=True)
    path = tmp_path / f"net{kind.suffix}"
    kind.module.write(model, path)
    run, trained = kind.module.load(path, 1), make_runner(model.weights.build())
    for example in examples_from_folder(photographs, model, 10):
        expected = trained(example.images)
        logits = run(example.inputs)
        torch.testing.assert_close(logits, expected, rtol=0.02, atol=0.1)
        pair = torch.cat([example.inputs, example.inputs])
        torch.testing.assert_close(run(pair), torch.cat([logits, logits]), rtol=1e-4, atol=1e-4)


def test_half_pixels_are_rounded_as_in_evaluation():
    assert [_half(excess) for excess in range(20)] == [round(n / 2) for n in range(20)]


def test_nearest_interpolation_is_an_error(exportable):
    model = exportable()
    with pytest.raises(ValueError, match="supports bilinear and bicubic"):
        WithPreprocessing(model.net, model.weights.preprocessing | {"interpolation": "nearest"})
