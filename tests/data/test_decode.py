import io

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.data.decode import ImageFileError, read_image

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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path, orientation):
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", image, exif=exif)
    assert np.array_equal(read_image(path, 1)[0], turns[orientation](pixels))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 3), fill) for fill in (RED, (0, 255, 0))]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert colour(path) == RED


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
def test_unreadable_files_are_named_with_the_fix(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name]())
    with pytest.raises(ImageFileError) as error:
        read_image(str(path), 3)
    message = str(error.value)
    assert message.startswith(f"{path} can't be read as an image (")
    assert "delete it, or replace it" in message
    assert "\n" not in message and "BytesIO" not in message


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageFileError, match=r"gone.jpg can't be read .*no such file"):
        read_image(str(tmp_path / "gone.jpg"), 3)


def test_floating_point_pixels_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.new("F", (4, 3), 0.5))
    with pytest.raises(ImageFileError, match="floating-point"):
        read_image(path, 3)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("1", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageFileError, match=r"a.png can't be read .*10000 pixels"):
        read_image(path, 3)


def test_the_sentence_survives_being_wrapped_in_a_traceback():
    error = ImageFileError("a.jpg can't be read: delete it")
    wrapped = (
        "Caught ImageFileError in DataLoader worker process 0.\nOriginal Traceback (most recent "
        f'call last):\n  File "x.py", line 1\nmobilenets.data.decode.ImageFileError: {error}\n'
    )
    assert str(ImageFileError(wrapped)) == str(error) == "a.jpg can't be read: delete it"
