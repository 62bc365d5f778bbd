"""Bad pictures, folders and archives: each is answered by a clear sentence.

A case is what is wrong, what makes it in an empty folder and reads it, and words of the answer.
All answers are ValueErrors, which the command lines print as they are and without a traceback.
"""

import io
import os
import socket
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenets.data import ImageDataModule
from mobilenets.data.decode import read_image

# Pictures


def encoded(kind, size=(40, 40), **options):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def png(width, height, pixels=b""):
    """A greyscale PNG of one bit a pixel, whatever its pixels are."""

    def chunk(kind, data):
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def image(mode, value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.float32 if mode == "F" else np.int32)).save(
        buffer, "TIFF"
    )
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
NO_IMAGE = "not an image, or an unknown format"
PICTURES = {  # name -> content, words of the answer
    "truncated.jpg": (encoded("JPEG")[:1000], "truncated"),
    "truncated.png": (encoded("PNG")[:1000], "can't be read as an image ("),
    "truncated.webp": (encoded("WEBP")[:500], "can't be read as an image ("),
    "truncated.tif": (encoded("TIFF")[:1000], "can't be read as an image ("),
    "truncated.gif": (encoded("GIF")[:500], "can't be read as an image ("),
    "truncated.bmp": (encoded("BMP")[:500], "truncated"),
    "bad checksum.png": (flipped(encoded("PNG"), 1000), "broken data stream"),
    "bad header.png": (flipped(encoded("PNG"), 20), NO_IMAGE),
    "empty.jpg": (b"", NO_IMAGE),
    "page.jpg": (b"<html>404 not found</html>", NO_IMAGE),
    "postscript.jpg": (EPS, NO_IMAGE),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', NO_IMAGE),
    "icon.png": (encoded("ICO"), NO_IMAGE),
    "print.jpg": (b"%PDF-1.4\n", NO_IMAGE),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", NO_IMAGE),
    "bomb.png": (png(60_000, 60_000), "3600000000 pixels) exceeds limit"),
    "floats.tif": (image("F", 0.5), "floating-point numbers of unknown range"),
    "large numbers.tif": (image("I", 1 << 20), "32-bit numbers of unknown range"),
    "negative.tif": (image("I", -1), "32-bit numbers of unknown range"),
}


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    os.chdir(path.parent)  # the path of a socket has 108 characters at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def make_large(path):
    with path.open("wb") as file:
        file.truncate(9_000_000_000)


NO_FILES = {
    "pipe.jpg": (make_pipe, "is not a regular file"),
    "socket.jpg": (make_socket, "can't be read (no such device"),
    "folder.jpg": (Path.mkdir, "can't be read (is a directory)"),
    "gone.jpg": (lambda path: None, "can't be read (no such file"),
    "dead link.jpg": (lambda path: path.symlink_to("nowhere"), "can't be read (no such file"),
    "circle.jpg": (lambda path: path.symlink_to(path), "can't be read (too many levels"),
    "large.jpg": (make_large, "has 9,000,000,000 bytes"),
}

# Folders


def tree(folder, **classes):
    """folder/CLASS with so many images each, of any split: a=4, val__a=2."""
    for name, count in classes.items():
        place = folder / name.replace("__", "/")
        place.mkdir(parents=True)
        for number in range(count):
            (place / f"{number}.png").write_bytes(encoded("PNG", (8, 8 + number)))
    return folder


def and_then(action):
    """A tree of two classes, and what spoils it."""

    def make(folder):
        tree(folder, a=4, b=4)
        action(folder)

    return make


def nest(folder):
    (folder / "deep").mkdir()
    for name in "ab":
        (folder / name).rename(folder / "deep" / name)


FOLDERS = {  # what is wrong -> what makes it, options, words of the answer
    "no folder": (lambda folder: None, {}, "does not exist"),
    "a file": (Path.touch, {}, "is a file"),
    "empty": (Path.mkdir, {}, "has no class folders"),
    "no classes": (lambda folder: tree(folder.parent, root=3), {}, "has no class folders"),
    "hidden classes": (lambda folder: tree(folder, **{".a": 3, ".b": 3}), {}, "no class folder"),
    "an empty class": (and_then(lambda f: (f / "c").mkdir()), {}, "root/c is empty"),
    "no images": (and_then(lambda f: tree(f, c=0)), {}, "root/c is empty"),
    "other files": (
        and_then(lambda f: [(f / "c").mkdir(), (f / "c" / "x.txt").touch()]), {}, "c is empty"
    ),
    "one class": (lambda folder: tree(folder, a=4), {}, "only one class folder (a)"),
    "one level up": (and_then(nest), {}, "only one class folder (deep)"),
    "a link to above": (and_then(lambda f: (f / "a/up").symlink_to("..")), {}, "links to a folder"),
    "a link to itself": (and_then(lambda f: (f / "a/x.jpg").symlink_to("x.jpg")), {}, "dead link"),
    "a dead link": (and_then(lambda f: (f / "a/x.jpg").symlink_to("no.jpg")), {}, "dead link"),
    "a pipe": (and_then(lambda f: os.mkfifo(f / "a/x.jpg")), {}, "not a regular file"),
    "a bad image": (and_then(lambda f: (f / "a/0.png").write_text("x")), {}, "0.png can't be read"),
    "no train": (lambda folder: tree(folder, val__a=2, test__a=2), {}, "but no train/"),
    "two vals": (
        lambda folder: tree(folder, train__a=2, val__a=2, valid__a=2), {}, "both val/ and valid/"
    ),
    "a class of val alone": (
        lambda folder: tree(folder, train__a=4, train__b=4, val__a=1, val__z=1),
        {},
        "val/z is a class that",
    ),
    "an empty class of val": (
        lambda folder: tree(folder, train__a=4, train__b=4, val__a=1, val__b=0),
        {},
        "val/b is empty",
    ),
    "a batch too large": (and_then(lambda f: None), {"batch_size": 9}, "fewer than a batch of 9"),
    "other names": (
        and_then(lambda f: None), {"class_names": ["a", "z"]}, "no folder z, no name for b"
    ),
    "too few names": (and_then(lambda f: None), {"class_names": ["a"]}, "data.class_names has 1"),
    "a name twice": (
        and_then(lambda f: None), {"class_names": ["a", "a"]}, "data.class_names has 'a' twice"
    ),
    "no test image": (
        and_then(lambda f: None), {"test_fraction": 0.9, "val_fraction": 0.2}, "less than 1"
    ),
}  # fmt: skip

# Archives

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]


def packed(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            if isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


CODE = b"cbuiltins\nopen\n(Vexecuted\nVw\ntR."  # a pickle that would write a file
ARCHIVES = {  # what is wrong -> what makes it, options, words of the answer
    "missing": (lambda path: None, {}, "is missing: download https://"),
    "empty": (Path.touch, {}, "can't be read as a .tar.gz"),
    "a page": (lambda path: path.write_text("<html>"), {}, "can't be read as a .tar.gz"),
    "another": (lambda path: packed(path, {}), {"verify": True}, "has the md5 checksum"),
    "nothing in it": (lambda path: packed(path, {}), {}, "has no data_batch_1"),
    "truncated": (
        lambda path: (packed(path, {"data_batch_1": os.urandom(9000)}), os.truncate(path, 5000)),
        {},
        "can't be read as a .tar.gz",
    ),
    "links": (
        lambda path: packed(path, dict.fromkeys(BATCHES, Path("/etc/passwd"))), {}, "has no data"
    ),
    "no pickles": (lambda path: packed(path, dict.fromkeys(BATCHES, b"x")), {}, "is not a file"),
    "code": (
        lambda path: packed(path, dict.fromkeys(BATCHES, CODE)),
        {},
        "it would run ",
    ),
    "too many": (
        lambda path: packed(path, {f"{number}": b"" for number in range(101)}), {}, "beyond the s"
    ),
}  # fmt: skip

# The answers


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, tmp_path, answer):
    path, (content, words) = tmp_path / name, PICTURES[name]
    path.write_bytes(content)
    assert words in answer(lambda: read_image(str(path), 3), path)


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_of_a_picture(name, tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    path, (make, words) = tmp_path / name, NO_FILES[name]
    make(path)
    assert words in answer(lambda: read_image(str(path), 3), path)


OPTIONS = {
    "class_names": None,
    "in_channels": 3,
    "image_size": 8,
    "mean": [0.5],
    "std": [0.25],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "batch_size": 2,
    "num_workers": 0,
    "val_fraction": 0.25,
    "test_fraction": 0.25,
    "split_seed": 0,
}
AUGMENT = {"flip": 0.5, "color_jitter": 0.0, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
LARGE = {"scale": [0.5, 1.0], "ratio": [0.75, 1.33], "policy": None, "magnitude": 9}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name, tmp_path, answer):
    make, options, words = FOLDERS[name]
    make(tmp_path / "root")

    def train():
        augment = AUGMENT | LARGE
        where = {"root": str(tmp_path / "root"), "augment": augment}
        data = ImageDataModule("folder", seed=0, **OPTIONS | where | options)
        data.setup()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)

    assert words in answer(train)


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name, tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    make, options, words = ARCHIVES[name]
    path = tmp_path / "cifar-10-python.tar.gz"
    make(path)
    augment = AUGMENT | {"crop_padding": 0}
    where = {"root": str(path), "download": False, "verify": False, "augment": augment}
    data = ImageDataModule("cifar10", seed=0, **OPTIONS | where | options)
    assert words in answer(data.setup, path)
    assert not (tmp_path / "executed").exists()


def test_the_number_of_bad_inputs():
    assert sum(map(len, (PICTURES, NO_FILES, FOLDERS, ARCHIVES))) == 60


# From the command line

RUN = ["model=mobilenet_v1", "model.width_mult=0.25", "trainer.accelerator=cpu"]
RUN += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "hydra.run.dir=run"]
SET = ["data=folder", "data.root=root", "data.image_size=32", "data.batch_size=3"]
SET += ["data.num_workers=0", "data.val_fraction=0.25", "data.test_fraction=0.25"]


def test_a_run_that_skips_bad_images_says_so_and_is_evaluated(script):
    tree(Path("root"), a=12, b=12)
    for name in ("a/0.png", "b/7.png"):
        Path("root", name).write_bytes(b"no picture")
    code, _, err = script("train", *RUN, *SET)
    assert code == 1 and "can't be read as an image" in err
    code, out, _ = script("train", *RUN, *SET, "data.on_bad_image=skip")
    assert code == 0
    skipped = [line for line in out.splitlines() if line.startswith("skipped")]
    assert skipped and sum(int(line.split()[1]) for line in skipped) == 2
    assert out.count("root/a/0.png can't be read as an image") == 1
    assert script("eval", "checkpoint=run", "split=train")[0] == 0
    code, _, err = script("eval", "checkpoint=run", "split=train", "data.on_bad_image=error")
    assert code == 1 and "can't be read as an image" in err


def test_evaluation_goes_on_after_a_batch_of_bad_images(script):
    tree(Path("root"), train__a=6, train__b=6, test__a=3, test__b=4)
    assert script("train", *RUN, *SET, "data.on_bad_image=skip")[0] == 0
    Path("root/test/b/3.png").write_bytes(b"no picture")  # the only image of the last batch
    code, out, _ = script("eval", "checkpoint=run")
    assert code == 0 and "skipped 1 bad images of test" in out
    Path("root/test/b/3.png").unlink()
    figures = Path("run/eval_test.json").read_text()
    assert script("eval", "checkpoint=run")[0] == 0
    again = Path("run/eval_test.json").read_text()
    drop = "images_per_second"
    assert [line for line in figures.splitlines() if drop not in line] == [
        line for line in again.splitlines() if drop not in line
    ]


def test_no_secret_of_the_environment_gets_into_a_run_folder(script, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    code, _, err = script("train", *RUN, "model.weights=https://h/w?token=${oc.env:SECRET}")
    assert code == 2 and "hunter2" not in err
    tree(Path("root"), a=8, b=8)
    assert script("train", *RUN, *SET, "seed=1")[0] == 0
    written = b"".join(path.read_bytes() for path in Path("run").rglob("*") if path.is_file())
    assert b"hunter2" not in written and b"SECRET" not in written
