import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.data.decode import (
    BadImageError,
    Box,
    EncodedImage,
    ImageFileError,
    dct_reduction,
    decode_image,
    read_file,
    read_image,
)

UPRIGHT = {  # EXIF orientation -> what a viewer does with an array (H, W)
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}
RED, CLEAR_RED = (255, 0, 0), (255, 0, 0, 0)


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


def colour(path, in_channels=3):
    image = read_image(path, in_channels)
    assert image.dtype == torch.uint8 and image.shape[0] == in_channels
    return tuple(image[:, 1, 1].tolist())


def test_rgb_is_read_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    assert torch.equal(read_image(path, 3), torch.from_numpy(pixels).permute(2, 0, 1))
    grey = np.array(Image.fromarray(pixels).convert("L"))
    assert torch.equal(read_image(path, 1), torch.from_numpy(grey)[None])


@pytest.mark.parametrize(
    ("mode", "fill", "suffix", "expected"),
    [
        ("L", 100, "png", (100, 100, 100)),
        ("1", 1, "png", (255, 255, 255)),
        ("P", 0, "gif", (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tif", RED),
        ("RGBA", (255, 0, 0, 255), "png", RED),
        ("RGBA", CLEAR_RED, "png", (255, 255, 255)),
        ("LA", (0, 0), "png", (255, 255, 255)),
        ("I;16", 257 * 100, "png", (100, 100, 100)),
        ("I;16", 65535, "tif", (255, 255, 255)),
        ("I", 257 * 30, "tif", (30, 30, 30)),
    ],
)
def test_other_modes_are_converted(tmp_path, mode, fill, suffix, expected):
    path = save(tmp_path / f"a.{suffix}", Image.new(mode, (4, 3), fill))
    assert colour(path) == expected
    assert colour(path, 1) == (Image.new("RGB", (1, 1), expected).convert("L").getpixel((0, 0)),)


def test_transparent_palette_entry_is_white(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert colour(save(tmp_path / "opaque.png", image)) == RED
    assert colour(save(tmp_path / "clear.png", image, transparency=1)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_the_picture_upright(tmp_path, orientation, kind):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    options = {"lossless": True} if kind == "webp" else {}
    path = save(tmp_path / f"a.{kind}", Image.fromarray(pixels), exif=exif(orientation), **options)
    assert np.array_equal(read_image(path, 1)[0], UPRIGHT[orientation](pixels))
    image = EncodedImage(Path(path).read_bytes(), path, 1)
    assert (image.height, image.width) == UPRIGHT[orientation](pixels).shape


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 3), fill) for fill in (RED, (0, 255, 0))]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert colour(path) == RED


def gradient(height, width):
    """A smooth picture, as reducing in the frequency domain differs most on noise."""
    rows, columns = np.mgrid[:height, :width]
    colours = [255 * rows / height, 255 * columns / width, 128 + 100 * np.sin(columns / 40)]
    return np.stack(colours, axis=-1).astype(np.uint8)


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("crop", "target", "expected"),
    [
        ((63, 200), 32, 1),
        ((64, 64), 32, 2),
        ((130, 127), 32, 2),
        ((128, 128), 32, 4),
        ((255, 600), 32, 4),
        ((256, 600), 32, 8),
        ((999, 999), 32, 8),
        ((20, 20), 32, 1),
    ],
)
def test_the_smallest_scale_that_covers_the_target_is_chosen(crop, target, expected):
    assert dct_reduction(*crop, target) == expected
    data = jpeg(np.zeros((*crop, 3), np.uint8))
    whole = decode_image(data, "a.jpg", 3, min_size=target)
    assert whole.shape[1:] == tuple(-(-side // expected) for side in crop)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_no_box_at_a_reduced_scale_is_below_the_target_or_off_by_more_than_half_a_pixel(reduction):
    data = jpeg(gradient(211, 203))
    full = decode_image(data, "a.jpg", 3).float()
    generator = np.random.default_rng(reduction)
    for _ in range(40):
        height, width = generator.integers(8 * reduction, 203, 2)
        target = int(min(height, width)) // reduction
        box = Box(
            int(generator.integers(211 - height + 1)),
            int(generator.integers(203 - width + 1)),
            int(height),
            int(width),
        )
        scale = dct_reduction(height, width, target)
        crop = EncodedImage(data, "a.jpg", 3).decode(box, target)
        assert min(crop.shape[1:]) >= target
        assert abs(crop.shape[1] - height / scale) <= 1 and abs(crop.shape[2] - width / scale) <= 1
        expected = full[:, box.top : box.top + height, box.left : box.left + width]
        # The gradients rise by less than 2.6 a pixel of the full image.
        resized = torch.nn.functional.interpolate(
            expected[None], crop.shape[1:], mode="bilinear", antialias=True
        )
        assert (crop - resized[0]).abs().max() <= 3 + 1.3 * scale


def test_a_box_without_a_target_is_cut_out_of_the_full_image():
    data = jpeg(gradient(60, 80))
    crop = EncodedImage(data, "a.jpg", 3).decode(Box(5, 7, 40, 50))
    assert torch.equal(crop, decode_image(data, "a.jpg", 3)[:, 5:45, 7:57])


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_boxes_are_those_of_the_upright_picture(orientation):
    stored = gradient(160, 240)
    data = jpeg(stored, exif=exif(orientation))
    upright = np.stack([UPRIGHT[orientation](channel) for channel in np.moveaxis(stored, -1, 0)])
    image = EncodedImage(data, "a.jpg", 3)
    assert (image.height, image.width) == upright.shape[1:]
    crop = image.decode(Box(16, 32, 96, 80), min_size=20)
    assert crop.shape == (3, 24, 20)
    expected = upright[:, 16:112, 32:112].reshape(3, 24, 4, 20, 4).mean((2, 4))
    assert np.abs(crop.numpy() - expected).max() <= 8


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_is_reduced(mode, in_channels):
    picture = Image.fromarray(gradient(128, 96)).convert(mode)
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = jpeg(picture, **options)
        full = decode_image(data, "a.jpg", in_channels).float()
        reduced = decode_image(data, "a.jpg", in_channels, min_size=24)
        assert reduced.shape == (in_channels, 32, 24)
        mean = torch.nn.functional.avg_pool2d(full, 4)
        assert (reduced - mean).abs().max() <= 6


def test_other_formats_are_decoded_in_full(tmp_path):
    pixels = gradient(64, 48)
    for suffix in ("png", "bmp", "tif", "ppm"):
        data = Path(save(tmp_path / f"a.{suffix}", Image.fromarray(pixels))).read_bytes()
        crop = EncodedImage(data, "a", 3).decode(Box(4, 8, 32, 40), min_size=4)
        assert np.array_equal(crop.permute(1, 2, 0), pixels[4:36, 8:48])


def test_channels_lie_innermost():
    for box in (None, Box(4, 8, 32, 40)):
        pixels = EncodedImage(jpeg(gradient(64, 48)), "a.jpg", 3).decode(box)
        assert pixels.permute(1, 2, 0).is_contiguous()


def test_an_image_is_decoded_once():
    image = EncodedImage(jpeg(gradient(64, 48)), "a.jpg", 3)
    image.decode(min_size=16)
    with pytest.raises(ImageFileError, match="closed"):
        image.decode()


def encoded(format_name):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, format_name)
    return buffer.getvalue()


BROKEN = {
    "truncated.jpg": lambda: encoded("JPEG")[:1000],
    "truncated.png": lambda: encoded("PNG")[:1000],
    "damaged.png": lambda: encoded("PNG")[:60] + b"\0" * 20 + encoded("PNG")[80:],
    "empty.jpg": lambda: b"",
    "text.jpg": lambda: b"<html>404 not found</html>",
    "postscript.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_unreadable_files_are_reported_with_the_fix(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name]())
    with pytest.raises(BadImageError) as error:
        read_image(str(path), 3)
    message = str(error.value)
    assert message.startswith(f"{path} can't be read as an image (")
    assert "delete it, or replace it" in message
    assert "\n" not in message and "BytesIO" not in message


def test_a_truncated_file_is_found_at_a_reduced_scale():
    data = jpeg(np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8))
    with pytest.raises(ImageFileError, match=r"cut\.jpg can't be read .*truncated"):
        decode_image(data[: len(data) // 2], "cut.jpg", 3, min_size=10)


def test_a_file_that_can_not_be_read_is_not_called_a_bad_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    sentences = {
        "gone.jpg": r"can't be read \(no such file or directory\): restore it, or delete it",
        "folder.jpg": r"can't be read \(is a directory\)",
        "circle.jpg": r"can't be read \(too many levels of symbolic links\)",
        "pipe.jpg": "is not a regular file: remove it, or replace it",
    }
    for name, sentence in sentences.items():
        with pytest.raises(ImageFileError, match=rf"/{name} {sentence}") as error:
            read_image(str(tmp_path / name), 3)
        assert not isinstance(error.value, BadImageError)


def test_a_file_larger_than_any_image_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(bytes(1000))
    monkeypatch.setattr("mobilenets.data.decode._MAX_BYTES", 999)
    with pytest.raises(
        ImageFileError, match=r"a.jpg has 1,000 bytes, more than the maximum of 999"
    ):
        read_file(str(tmp_path / "a.jpg"))


def test_running_out_of_memory_is_not_reported_as_a_bad_image(monkeypatch):
    def exhausted(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        decode_image(b"", "a.jpg", 3)


@pytest.mark.parametrize(
    ("mode", "value", "sentence"),
    [("F", 0.5, "floating-point"), ("I", 65536, "32-bit"), ("I", -1, "32-bit")],
)
def test_pixels_of_unknown_range_are_refused(mode, value, sentence, tmp_path):
    path = save(tmp_path / "a.tif", Image.new(mode, (4, 3), value))
    with pytest.raises(BadImageError, match=f"{sentence} numbers of unknown range"):
        read_image(path, 3)


def test_lab_is_converted_to_rgb_and_to_grey(tmp_path):
    path = save(tmp_path / "a.tif", Image.new("LAB", (4, 3), (255, 128, 128)))
    assert min(colour(path)) >= 254
    assert colour(path, 1)[0] >= 254


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("1", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImageError, match=r"a.png can't be read .*10000 pixels"):
        read_image(path, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)  # PIL warns from here, and refuses twice
    assert read_image(path, 1).shape == (1, 100, 100)


def test_the_sentence_survives_being_wrapped_in_a_traceback():
    error = ImageFileError("a.jpg can't be read: delete it")
    wrapped = (
        "Caught ImageFileError in DataLoader worker process 0.\nOriginal Traceback (most recent "
        f'call last):\n  File "x.py", line 1\nmobilenets.data.decode.ImageFileError: {error}\n'
    )
    assert str(ImageFileError(wrapped)) == str(error) == "a.jpg can't be read: delete it"
    wrapped = wrapped.replace("ImageFileError: ", "BadImageError: ")
    assert str(BadImageError(wrapped)) == str(error)
