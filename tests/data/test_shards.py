import io
import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets.data import shards as module
from mobilenets.data.decode import ImageFileError, decode_image, read_file
from mobilenets.data.folder import find_imagenet, find_trees, list_images_strict
from mobilenets.data.shards import (
    INDEX,
    open_shards,
    read_index,
    shard_path,
    shrink,
    write_index,
    write_shard,
)


def pack(root, dest, *, step=5, short_side=256):
    """Make shards of `step` images each of a tree; a short side of 256 keeps small JPEGs."""
    dest.mkdir(parents=True)
    tree = list_images_strict(root)
    images = [
        (name, shrink(tree.read(name), name, short_side=short_side, quality=95))
        for names in tree.paths.values()
        for name in names
    ]
    parts = [images[start : start + step] for start in range(0, len(images), step)]
    shards = [write_shard(shard_path(dest, number), part) for number, part in enumerate(parts)]
    write_index(dest / INDEX, {"short_side": short_side}, shards)
    return dest


@pytest.fixture
def packed(tree, tmp_path):
    return pack(tree, tmp_path / "packed")


def encoded(pixels, format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def photo(height, width, channels=3):
    """A smooth picture, as JPEG likes it."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    waves = sum(np.sin((axis + 1) * grid / 40) for axis, grid in enumerate(np.indices(shape)))
    return (128 + 40 * waves).astype(np.uint8)


def small(data, short_side=32, quality=95):
    return Image.open(io.BytesIO(shrink(data, "x.jpg", short_side=short_side, quality=quality)))


# The folder of shards


def test_shards_are_listed_as_the_tree_that_they_were_made_from(tree, packed):
    before, after = list_images_strict(tree), list_images_strict(packed)
    assert len(list(packed.glob("*.tar"))) == 8
    assert list(after.paths.items()) == list(before.paths.items())
    names = [name for names in before.paths.values() for name in names]
    assert len(names) == 36
    assert all(after.read(name) == before.read(name) for name in names)


def test_shards_are_plain_tar_files_without_owner_and_date(tree, packed):
    with tarfile.open(shard_path(packed, 1)) as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [f"daisy/{number:03}.jpg" for number in range(5, 10)]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
        assert tar.extractfile(members[2]).read() == (tree / "daisy/007.jpg").read_bytes()
    _, shards = read_index(packed / INDEX)
    assert shards[1].offsets == [member.offset_data for member in members]
    assert shards[1].bytes == shard_path(packed, 1).stat().st_size


def test_the_same_images_give_the_same_bytes(tree, packed, tmp_path):
    again = pack(tree, tmp_path / "again")
    files = sorted(path.name for path in packed.iterdir())
    assert len(files) == 9
    assert all((again / name).read_bytes() == (packed / name).read_bytes() for name in files)


def test_names_that_are_difficult_for_tar(tmp_path, write_images):
    difficult = ("grün", "long" * 60, os.fsdecode(b"latin\xe9"), "a", "a b")
    for name in difficult:
        write_images(tmp_path / "tree" / name, 2)
    (tmp_path / "tree" / "a" / "000.jpg").rename(tmp_path / "tree" / "a" / ("ä" * 120 + ".JPEG"))
    before, after = (
        list_images_strict(tmp_path / "tree"),
        list_images_strict(pack(tmp_path / "tree", tmp_path / "packed")),
    )
    assert set(after.paths) == set(difficult) and after.paths == before.paths
    names = [name for names in before.paths.values() for name in names]
    assert all(after.read(name) == before.read(name) for name in names)
    with tarfile.open(shard_path(after.root, 0)) as tar:
        assert tar.getnames() == names[:5]


def test_converted_files_are_named_jpg_in_the_tar_file_only(tmp_path):
    (tmp_path / "tree" / "a").mkdir(parents=True)
    for name in ("1.png", "1.JPEG"):
        Image.fromarray(photo(20, 20)).save(tmp_path / "tree" / "a" / name)
    packed = pack(tmp_path / "tree", tmp_path / "packed")
    assert list_images_strict(packed).paths == {"a": ["a/1.JPEG", "a/1.png"]}
    with tarfile.open(shard_path(packed, 0)) as tar:
        assert tar.getnames() == ["a/1.JPEG", "a/1.png.jpg"]


def test_split_folders_of_shards_serve_as_those_of_images(tree, tmp_path):
    for split in ("train", "val"):
        pack(tree, tmp_path / "set" / split)
    for find in (find_trees, find_imagenet):
        trees, notes = find(str(tmp_path / "set"))
        assert {split: tree.root.name for split, tree in trees.items()} == {
            "train": "train",
            "test": "val",
        }
        assert len(notes) == 1 and "serves as the test set" in notes[0]


# Reading


def test_images_are_read_in_any_order_from_any_thread_or_copy(tree, packed):
    _, read, _ = open_shards(packed)
    names = [f"tulip/{number:03}.jpg" for number in np.random.default_rng(0).permutation(14)] * 20
    expected = [(tree / name).read_bytes() for name in names]
    assert [read(name) for name in names] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, names)) == expected
    assert [pickle.loads(pickle.dumps(read))(name) for name in names[:14]] == expected[:14]


def test_the_number_of_open_files_is_limited(tree, packed, monkeypatch):
    opened, closed = [], []
    monkeypatch.setattr(module, "_MAX_OPEN", 2)
    monkeypatch.setattr(os, "open", spy(os.open, opened))
    monkeypatch.setattr(os, "close", spy(os.close, closed))
    _, read, _ = open_shards(packed)
    for name in (name for names in list_images_strict(tree).paths.values() for name in names):
        assert read(name) == (tree / name).read_bytes()
    assert (len(opened), len(closed)) == (8, 6)
    del read
    assert len(closed) == 8


def spy(function, results):
    def call(*args):
        results.append(args)
        return function(*args)

    return call


def test_a_missing_or_truncated_shard_is_reported_with_its_name(packed):
    path = shard_path(packed, 3)
    _, read, _ = open_shards(packed)
    os.truncate(path, 2000)
    with pytest.raises(ImageFileError, match=rf"^{path} ends within rose/008.jpg: copy it again$"):
        read("rose/008.jpg")
    with pytest.raises(ValueError, match=rf"^{path} has 2,000 bytes instead of [\d,]+: copy it"):
        list_images_strict(packed)
    path.unlink()
    with pytest.raises(ValueError, match=rf"^{path} has 0 bytes instead of"):
        list_images_strict(packed)
    fresh = pickle.loads(pickle.dumps(read))  # has opened nothing
    with pytest.raises(ImageFileError, match=rf"^{path} can't be read \(no such file .*copy it"):
        fresh("rose/008.jpg")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "options": {}}'])
def test_a_damaged_index_is_one_sentence(packed, text):
    (packed / INDEX).write_text(text)
    with pytest.raises(
        ValueError, match=r"shards.json is not a valid index of shards .* again with"
    ) as error:
        list_images_strict(packed)
    assert "\n" not in str(error.value)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = shard_path(tmp_path, 0)
    write_shard(path, [("a/1.jpg", b"old")])
    old = path.read_bytes()

    def images():
        yield "a/1.jpg", b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_shard(path, images())
    assert path.read_bytes() == old


# Making images small


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 100), (32, 50)), ((333, 128), (83, 32)), ((65, 65), (32, 32))]
)
def test_the_short_side_is_reduced_as_in_evaluation(size, expected):
    data = encoded(photo(*size), "PNG")
    result = small(data)
    assert (result.height, result.width) == expected and result.format == "JPEG"
    resized = torch.nn.functional.interpolate(
        decode_image(data, "x", 3)[None].float(), expected, mode="bilinear", antialias=True
    )[0]
    difference = torch.from_numpy(np.array(result)).permute(2, 0, 1) - resized
    assert difference.abs().mean() < 2


@pytest.mark.parametrize("size", [(32, 50), (20, 500), (31, 31)])
def test_small_images_are_not_enlarged_and_small_jpegs_stay_as_they_are(size):
    data = encoded(photo(*size), quality=60)
    assert shrink(data, "x.jpg", short_side=32, quality=95) == data
    result = small(encoded(photo(*size), "PNG"))
    assert (result.height, result.width) == size and result.format == "JPEG"


def test_exif_orientation_is_applied():
    pixels = photo(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    result = small(encoded(pixels, exif=exif))
    assert result.size == (20, 30) and 0x0112 not in result.getexif()
    assert np.abs(np.array(result).astype(int) - np.rot90(pixels, -1)).mean() < 2


@pytest.mark.parametrize("size", [(20, 30), (64, 96)])
def test_grey_stays_grey(size):
    grey = photo(*size, channels=1)
    for data in (encoded(grey), encoded(grey, "PNG"), encoded(grey.astype(np.uint16) * 257, "PNG")):
        assert small(data).mode == "L"
    assert small(encoded(photo(*size))).mode == "RGB"
    result = np.array(small(encoded(photo(20, 30, channels=1), "PNG"))).astype(int)
    assert np.abs(result - photo(20, 30, channels=1)).mean() < 2


def test_quality_is_that_of_the_jpeg():
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "PNG")
    sizes = [len(shrink(data, "x", short_side=32, quality=quality)) for quality in (50, 90, 95)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_files_that_can_not_become_a_jpeg_are_refused():
    with pytest.raises(ImageFileError, match=r"x.png can't be read as an image"):
        shrink(encoded(photo(20, 20))[:300], "x.png", short_side=32, quality=95)
    with pytest.raises(ImageFileError, match=r"^x.png is too long for a JPEG \(70,000 pixels\)"):
        shrink(encoded(photo(70000, 2), "PNG"), "x.png", short_side=32, quality=95)


# A run on shards


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_a_run_on_shards_is_the_run_on_the_tree(make_data, tree, tmp_path, name):
    roots = [tmp_path / "set" / split for split in ("train", "val")]
    for root in roots:
        root.parent.mkdir(exist_ok=True)
        root.symlink_to(tree, target_is_directory=True)
        pack(root, tmp_path / "packed" / root.name, short_side=256)
    data = [make_data(name, root=str(tmp_path / root)) for root in ("set", "packed")]
    assert data[0].sizes == data[1].sizes and data[0].class_names == data[1].class_names
    for split in ("train", "val", "test"):
        assert data[0].splits[split].keys() == data[1].splits[split].keys()
        assert np.array_equal(data[0].splits[split].labels, data[1].splits[split].labels)
    equal_batches(*(list(d.train_dataloader()) for d in data))
    equal_batches(*(list(d.test_dataloader()) for d in data))


def equal_batches(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels) and torch.equal(one.indices, other.indices)


def test_workers_change_nothing(make_data, packed):
    alone, together = (make_data("folder", root=str(packed), num_workers=n) for n in (0, 2))
    batches = list(alone.train_dataloader())  # the shards are open when the workers start
    loader = together.train_dataloader()
    equal_batches(batches, list(loader))
    equal_batches(batches, list(loader))


def test_large_images_differ_by_the_jpeg_only(tmp_path, make_data):
    for label in "ab":
        (tmp_path / "tree" / label).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.roll(photo(90, 70), 20 * number, axis=0)).save(
                tmp_path / "tree" / label / f"{number}.jpg", quality=98
            )
    packed = pack(tmp_path / "tree", tmp_path / "packed", short_side=16)
    data = [make_data("folder", root=str(root)) for root in (tmp_path / "tree", packed)]
    images = [next(iter(d.eval_dataloader("train"))).images.float() for d in data]
    assert images[0].shape == (6, 3, 16, 16)
    assert (images[0] - images[1]).abs().mean() < 3
    assert json.loads((packed / INDEX).read_text())["options"] == {"short_side": 16}


def test_large_images_and_their_shards_are_cropped_alike(tmp_path, make_data):
    """Flipped alike, too; drawn in pixels, most crops differ by 20 to 60 of 255."""
    for label in "ab":
        (tmp_path / "tree" / label).mkdir(parents=True)
        for number in range(8):
            pixels = np.roll(photo(360, 480), 40 * number, axis=1)
            Image.fromarray(pixels).save(tmp_path / "tree" / label / f"{number}.jpg", quality=98)
    packed = pack(tmp_path / "tree", tmp_path / "packed", short_side=120)
    augment = {"scale": [0.08, 1.0], "ratio": [0.75, 1.33], "flip": 0.5, "color_jitter": 0.4}
    augment |= {"policy": None, "magnitude": 9, "erasing": 0.3}
    sets = [make_data("folder", root=str(r), augment=augment) for r in (tmp_path / "tree", packed)]
    images = [torch.cat([batch.images for batch in d.train_dataloader()]).float() for d in sets]
    difference = (images[0] - images[1]).abs().mean((1, 2, 3))
    assert len(difference) >= 8 and difference.max() < 8, difference


def test_a_tree_reads_its_files(tree):
    read = list_images_strict(tree).read
    assert isinstance(read, partial)
    assert read("rose/000.jpg") == read_file(str(tree / "rose/000.jpg"))
    with pytest.raises(ImageFileError, match=r"rose/gone.jpg can't be read"):
        read("rose/gone.jpg")


# Images that are too small


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_a_note_says_that_the_images_of_shards_are_too_small(make_data, tree, tmp_path, name):
    for split, short_side in (("train", 16), ("val", 18)):
        pack(tree, tmp_path / "set" / split, short_side=short_side)

    def notes(**options):
        return make_data(name, root=str(tmp_path / "set"), **options).notes[1:]

    assert notes(image_size=16) == notes(image_size=14, crop_pct=0.875) == []
    assert notes(image_size=16, crop_pct=0.8) == [
        "the shards were made with --short-side 16, and their images are enlarged to 20 "
        "(data.image_size=16 / data.crop_pct): make them again with scripts/prepare_imagenet.py "
        "--short-side 20, or lower data.image_size"
    ]
    assert len(notes(image_size=17)) == 1
    assert len(make_data("folder", root=str(tree), image_size=64).notes) == 1  # of the splits
