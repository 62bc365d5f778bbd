import io
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from mobilenets.data.decode import EncodedImage, decode_image
from mobilenets.data.randomness import counter_rng
from mobilenets.data.transforms import (
    Normalize,
    RandomResizedCrop,
    check_preprocessing,
    convert_channels,
    eval_transform,
    mean_color,
    train_transform,
)
from tests.conftest import PREPROCESSING
from tests.data.conftest import AUGMENT_FILES

IMAGENET = PREPROCESSING | {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
}
CROP_ONLY = AUGMENT_FILES | {
    "scale": [0.08, 1.0],
    "flip": 0.0,
    "color_jitter": 0.0,
    "policy": None,
    "erasing": 0.0,
}


def photo(channels=3, height=60, width=90):
    """A smooth picture, as resizing differs most on noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(channels, 6, 9, generator=generator) * 255
    return v2.functional.resize(coarse, [height, width]).to(torch.uint8)


def file_of(image, file_format="PNG"):
    """The bytes of an image file; a PNG's pixels are the image's."""
    pixels = image.permute(1, 2, 0).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, quality=95)
    return buffer.getvalue()


def encoded(image, file_format="PNG"):
    return EncodedImage(file_of(image, file_format), "photo", len(image))


def test_evaluation_agrees_with_pil_and_torchvision():
    image = photo()
    size = round(32 / 0.875)
    pil = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = v2.CenterCrop(32)(v2.Resize(size, v2.InterpolationMode.BICUBIC)(pil))
    result = eval_transform(IMAGENET)(image)
    assert result.dtype == torch.uint8 and result.shape == (3, 32, 32)
    difference = result.float() - torch.tensor(np.array(expected)).permute(2, 0, 1)
    assert difference.abs().max() <= 2


def test_evaluation_of_a_batch_equals_that_of_its_images():
    batch = torch.stack([photo(), photo().flip(2)])
    transform = eval_transform(IMAGENET)
    assert torch.equal(transform(batch), torch.stack([transform(image) for image in batch]))


def test_evaluation_decodes_all_pixels_of_a_file():
    transform = eval_transform(IMAGENET)
    data = file_of(photo(3, 600, 900), "JPEG")
    pixels = decode_image(data, "a.jpg", 3)
    assert torch.equal(transform(EncodedImage(data, "a.jpg", 3)), transform(pixels))


def test_nearest_enlarges_by_repetition():
    image = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    enlarged = eval_transform(IMAGENET | {"interpolation": "nearest", "crop_pct": 1.0})(image)
    assert torch.equal(enlarged, image.repeat_interleave(4, 1).repeat_interleave(4, 2))


class Recorded(EncodedImage):
    """Remembers in what size it was decoded."""

    def decode(self, box=None, min_size=None):
        pixels = super().decode(box, min_size)
        self.decoded = tuple(pixels.shape[1:])
        return pixels


def random_crop(scale=(0.08, 1.0), ratio=(0.75, 1.33)):
    interpolation = v2.InterpolationMode.BILINEAR
    return RandomResizedCrop(32, scale=scale, ratio=ratio, interpolation=interpolation)


def boxes(crop, height, width, count=2000):
    """(count, 4): top, left, height and width of the crops of the first samples of an epoch."""
    drawn = []
    for index in range(count):
        with counter_rng(0, 0, index):
            drawn.append(crop.draw(height, width))
    return torch.tensor(drawn)


@pytest.mark.parametrize(
    ("size", "scale"), [((300, 300), (0.08, 1.0)), ((300, 400), (0.5, 1.0)), ((100, 500), (0.2, 1))]
)
def test_crops_are_distributed_as_torchvisions(size, scale):
    """At the bounds of scale and ratio, and where many of the crops that are tried don't fit."""
    ours = boxes(random_crop(scale), *size)
    canvas = torch.empty(1, *size, device="meta")
    get_params = transforms.RandomResizedCrop.get_params
    with counter_rng(1, 0, 0):
        theirs = torch.tensor([get_params(canvas, list(scale), [0.75, 1.33]) for _ in range(2000)])
    for row in (ours.double().T, theirs.double().T):
        top, left, height, width = row
        assert top.min() >= 0 and left.min() >= 0 and height.min() > 0 and width.min() > 0
        assert (top + height).max() <= size[0] and (left + width).max() <= size[1]
    levels = torch.arange(1, 20, dtype=torch.float64) / 20
    quantiles = [sample.double().quantile(levels, dim=0) for sample in (ours, theirs)]
    difference = (quantiles[0] - quantiles[1]).abs() / torch.tensor([*size, *size])
    assert difference.max() < 0.04


def test_an_image_without_a_crop_that_fits_is_cropped_in_the_centre_as_torchvisions():
    for size in ((42, 400), (400, 42), (300, 350)):
        canvas = torch.empty(1, *size, device="meta")
        scale, ratio = [5.0, 6.0], [0.75, 1.33]  # of more than there is
        theirs = transforms.RandomResizedCrop.get_params(canvas, scale, ratio)
        assert random_crop(scale, ratio).draw(*size) == theirs


def test_a_shrunk_image_has_the_crop_of_the_original():
    crop = random_crop()
    whole, half = boxes(crop, 500, 750), boxes(crop, 250, 375)
    assert (whole / 2 - half).abs().max() <= 1
    assert len({tuple(box) for box in half.tolist()}) > 1900
    # As ImageNet's are reduced to a short side of 256, to 341.33 pixels in a row, rounded.
    whole, small = boxes(crop, 375, 500), boxes(crop, 256, 341)
    same = (whole * (256 / 375) - small).abs().amax(1) <= 1.5
    assert same.double().mean() > 0.99


def test_the_draws_after_a_crop_do_not_depend_on_the_images_size():
    after = set()
    for size in ((500, 750), (250, 375), (40, 400), (3, 2)):
        with counter_rng(0, 0, 0):
            random_crop().draw(*size)
            after.add(torch.rand(1).item())
    assert len(after) == 1


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_crop_equals_that_of_the_fully_decoded_image(file_format):
    crop = random_crop()
    rows = torch.linspace(0, 255, 301)[:, None].expand(301, 413)
    columns = torch.linspace(255, 0, 413).expand(301, 413)
    data = file_of(torch.stack([rows, columns, (rows + columns) / 2]).byte(), file_format)
    pixels = decode_image(data, "a", 3)
    sizes = set()
    for index in range(40):
        image = Recorded(data, "a", 3)
        with counter_rng(0, 0, index):
            result = crop(image)
        with counter_rng(0, 0, index):
            box = crop.draw(301, 413)
        expected = v2.functional.resized_crop(pixels, *box, [32, 32], antialias=True)
        assert result.shape == (3, 32, 32) and result.dtype == torch.uint8
        error = (result.float() - expected).abs()
        assert min(image.decoded) >= 32
        sizes.add(min(image.decoded) // 32)
        # Half a pixel of the result is 4, where it shows the whole gradient.
        assert error.max() <= (0 if file_format == "PNG" else 6)
    # A JPEG's crop has less than twice the pixels that it needs, so that no smaller scale would do.
    assert sizes == {1} if file_format == "JPEG" else max(sizes) > 4


def test_a_crop_of_a_small_image_is_enlarged():
    crop = random_crop((1.0, 1.0), (1.0, 1.0))
    image = Recorded(file_of(photo(3, 20, 20), "JPEG"), "a", 3)
    assert crop(image).shape == (3, 32, 32)
    assert image.decoded == (20, 20)


CHANGES = {
    "crop": {},
    "flip": {"flip": 0.5},
    "jitter": {"color_jitter": 0.4},
    "randaugment": {"policy": "randaugment"},
    "trivialaugment": {"policy": "trivialaugment"},
    "erasing": {"erasing": 0.5},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_training_draws_from_torch_only_and_varies(change, channels):
    preprocessing = IMAGENET | {"in_channels": channels, "mean": [0.5], "std": [0.25]}
    transform = train_transform(preprocessing, CROP_ONLY | CHANGES[change])
    image = photo(channels)

    def run(seed_of_others):
        random.seed(seed_of_others)
        np.random.seed(seed_of_others)
        results = []
        for index in range(30):
            with counter_rng(0, 0, index):
                results.append(transform(encoded(image)))
        return torch.stack(results)

    first = run(1)
    assert first.dtype == torch.uint8 and first.shape == (30, channels, 32, 32)
    assert torch.equal(run(2), first)
    assert len({tuple(result.flatten().tolist()) for result in first}) > 25


def test_each_option_changes_something():
    image = photo()
    results = set()
    for change in CHANGES.values():
        with counter_rng(0, 0, 4):
            transform = train_transform(
                IMAGENET, CROP_ONLY | change | {"flip": 1.0 if "flip" in change else 0}
            )
            results.add(tuple(transform(encoded(image)).flatten().tolist()))
    assert len(results) >= len(CHANGES) - 1  # erasing strikes one time in two


def test_erased_and_uncovered_pixels_have_the_mean_colour():
    assert mean_color(IMAGENET) == [124, 116, 104]
    with counter_rng(0, 0, 0):
        white = encoded(torch.full((3, 60, 90), 255).byte())
        erased = train_transform(IMAGENET, CROP_ONLY | {"erasing": 1.0})(white)
    colours = {tuple(colour) for colour in erased.flatten(1).T.tolist()}
    assert colours == {(255, 255, 255), (124, 116, 104)}


def test_an_unknown_policy_lists_the_choices():
    with pytest.raises(
        ValueError,
        match=r"data.augment.policy 'autoaug' is unknown; .*Choices: null, randaugment, triv",
    ):
        train_transform(IMAGENET, CROP_ONLY | {"policy": "autoaug"})


def test_normalisation_is_torchvisions():
    images = torch.stack([photo(3, 32, 32), photo(3, 32, 32).flip(1)])
    expected = v2.functional.normalize(images / 255, IMAGENET["mean"], IMAGENET["std"])
    result = Normalize(IMAGENET)(images)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert images.dtype == torch.uint8  # the input is left alone


def test_a_single_mean_applies_to_all_channels():
    images = photo(3, 32, 32)[None]
    one = Normalize(IMAGENET | {"mean": [0.5], "std": [0.2]})(images)
    assert torch.equal(one, Normalize(IMAGENET | {"mean": [0.5] * 3, "std": [0.2] * 3})(images))


def test_grey_becomes_rgb_and_rgb_becomes_grey():
    grey = photo(1)
    assert torch.equal(convert_channels(grey, 3), grey.expand(3, -1, -1))
    pil = Image.fromarray(photo(3).permute(1, 2, 0).numpy()).convert("L")
    assert torch.equal(convert_channels(photo(3), 1)[0], torch.from_numpy(np.array(pil)))
    assert torch.equal(convert_channels(convert_channels(grey, 3), 1), grey)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"in_channels": 4}, "data.in_channels=4: images are read as grey"),
        ({"mean": [0.5, 0.5]}, "data.mean has 2 values: give one, or data.in_channels=3"),
        ({"std": [0.5, 0.5]}, "data.std has 2 values"),
        ({"std": [0.0]}, "data.std=.* above 0"),
        ({"crop_pct": 1.5}, "data.crop_pct=1.5: must be above 0 and at most 1"),
        (
            {"interpolation": "lanczos"},
            "data.interpolation 'lanczos' is unknown; .*Choices: nearest",
        ),
    ],
)
def test_invalid_preprocessing_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        check_preprocessing(IMAGENET | wrong)
