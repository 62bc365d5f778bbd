"""scripts/prepare_imagenet.py: its shards, its messages and how it resumes."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from mobilenets.data.folder import list_images_strict
from mobilenets.data.shards import INDEX, read_index

SMALL = ("--short-side", "16", "--shard-size", "1")


@pytest.fixture
def module(load_script, monkeypatch):
    module = load_script("prepare_imagenet")
    monkeypatch.setattr(module, "BYTES_PER_PIXEL", 1e6 / (16 * 16 * 4 / 3) / 5)  # 5 images per MB
    return module


@pytest.fixture
def prepare(module, capsys, monkeypatch, tmp_path):
    """prepare(source, dest, ...) -> (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*argv, workers=1):
        code = 0
        try:
            module.main([*SMALL, "--workers", str(workers), *argv])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def source(tmp_path, write_images):
    """train/ with two classes of 8 images, val/ with two of 3."""
    for split, count in (("train", 8), ("val", 3)):
        for label in "ab":
            write_images(tmp_path / "source" / split / label, count, name="{}.jpg")
    return tmp_path / "source"


def contents(folder):
    """Return every file below a folder: {path: bytes}."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


COMPLETE = {
    *(f"train/shard-0000{number}.tar" for number in range(4)),
    *(f"val/shard-0000{number}.tar" for number in range(2)),
    "train/shards.json",
    "val/shards.json",
}


def test_a_tree_becomes_shards(prepare, source):
    code, out, err = prepare("source", "dest")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("note    source/val serves as the test set")
    assert lines[1].startswith("done    22 of 22 images, ")
    assert lines[2].startswith("ready   dest/train: 16 images of 2 classes, 0.")
    assert set(contents("dest")) == COMPLETE
    for split in ("train", "val"):
        before, after = list_images_strict(source / split), list_images_strict(Path("dest") / split)
        assert after.paths == before.paths
    options, shards = read_index(Path("dest/train", INDEX))
    assert options == {"short_side": 16, "quality": 95, "images_per_shard": 5}
    assert [len(shard.names) for shard in shards] == [5, 5, 5, 1]
    with Image.open(io.BytesIO(after.read("b/2.jpg"))) as image:
        assert image.size == (19, 16) and image.format == "JPEG"


def test_a_tree_without_splits_and_other_formats(prepare, source):
    (source / "train" / "a" / "0.jpg").rename(source / "train" / "a" / "0.png")
    code, out, _ = prepare("source/train", "dest")
    assert code == 0 and "all splits are made by seed" in out
    assert set(contents("dest")) == {name[6:] for name in COMPLETE if name.startswith("train/")}
    assert list_images_strict(Path("dest")).paths == list_images_strict(source / "train").paths


def test_several_processes_give_the_same_bytes(prepare, source):
    assert prepare("source", "dest")[0] == prepare("source", "others", workers=2)[0] == 0
    assert contents("others") == contents("dest")


def test_quality_and_shard_size_come_from_the_command_line(prepare, source):
    prepare("source", "dest")
    prepare("source", "coarse", "--quality", "50", "--shard-size", "2")
    options, shards = read_index(Path("coarse/train", INDEX))
    assert (options["quality"], [len(shard.names) for shard in shards]) == (50, [10, 6])
    sizes = [sum(map(len, contents(folder).values())) for folder in ("coarse", "dest")]
    assert sizes[0] < sizes[1]


# Resuming


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_run_stopped_at_any_write_resumes_to_the_same_bytes(prepare, source, monkeypatch, step):
    assert prepare("source", "expected")[0] == 0
    place, name = {"fsync": (os, "fsync"), "replace": (Path, "replace")}[step]
    original = getattr(place, name)
    for stop_at in range(1, 15):  # 6 shards with an index each, 2 indexes of all
        calls = 0

        def stopped(*args, stop_at=stop_at):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return original(*args)

        dest = f"stopped_{stop_at}"
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stopped)
            code, _, err = prepare("source", dest)
        assert (code, len(err.splitlines())) == (130, 1) and "the same command resumes" in err
        assert contents(dest) != contents("expected")
        assert not list(Path(dest).rglob("*.part"))
        assert prepare("source", dest)[0] == 0
        assert contents(dest) == contents("expected")
    assert calls == 14


def test_only_missing_shards_are_made(prepare, module, source, monkeypatch):
    def count(*args, **options):
        made.append(args[1])
        if len(made) == 8:
            raise KeyboardInterrupt
        return shrink(*args, **options)

    made, shrink = [], module.shrink
    monkeypatch.setattr(module, "shrink", count)
    assert prepare("source", "dest")[0] == 130
    assert set(contents("dest")) == {"train/shard-00000.tar", "train/shard-00000.json"}
    monkeypatch.setattr(module, "shrink", lambda *args, **opt: (made.append(args[1]), b"jpeg")[1])
    made.clear()
    code, out, _ = prepare("source", "dest")
    assert code == 0 and "resume  1 of 6 shards are complete" in out
    assert [Path(path).name for path in made[:3]] == ["5.jpg", "6.jpg", "7.jpg"]
    assert len(made) == 22 - 5
    made.clear()
    assert prepare("source", "dest")[0] == 0
    assert made == []


def test_a_stopped_run_makes_shards_of_changed_images_again(prepare, source, monkeypatch):
    (source / "train" / "b" / "7.jpg").write_bytes(b"bad")
    assert prepare("source", "dest")[0] == 1
    (source / "train" / "b" / "7.jpg").write_bytes((source / "val" / "a" / "0.jpg").read_bytes())
    code, out, _ = prepare("source", "dest")
    assert code == 0 and "resume  5 of 6 shards" in out
    prepare("source", "expected")
    assert contents("dest") == contents("expected")
    (source / "train" / "b" / "7.jpg").unlink()
    code, _, err = prepare("source", "dest")
    assert code == 1 and err.startswith("error: dest/train is complete, but source/train has chan")


def test_fewer_images_than_in_the_stopped_run_leave_no_shard_behind(prepare, source):
    (source / "train" / "a" / "0.jpg").write_bytes(b"bad")
    assert prepare("source", "dest")[0] == 1
    (source / "train" / "a" / "0.jpg").unlink()
    assert prepare("source", "dest")[0] == 0
    assert set(contents("dest")) == COMPLETE - {"train/shard-00003.tar"}


def test_partial_files_of_a_killed_run_are_removed(prepare, source):
    """Their names are FILE.part where an earlier version was killed."""
    names = (".shard-00001.tar.0123abcd.part", ".shards.json.0123abcd.part", "shard-00002.tar.part")
    Path("dest/train").mkdir(parents=True)
    for name in names:
        Path("dest/train", name).write_bytes(b"half of it")
    assert prepare("source", "dest")[0] == 0
    assert set(contents("dest")) == COMPLETE


@pytest.mark.parametrize("name", [".shard-1.tar.0123abcd.part", ".notes.0123abcd.part", "a.part"])
def test_partial_files_of_others_are_left_alone(name, prepare, source):
    Path("dest/train").mkdir(parents=True)
    Path("dest/train", name).touch()
    code, _, err = prepare("source", "dest")
    assert code == 1 and f"dest/train contains other files ({name}): choose an empty" in err
    assert set(contents("dest")) == {f"train/{name}"}


# Bad images


@pytest.fixture
def bad(source):
    folder = source / "train"
    (folder / "a" / "1.jpg").write_text("<html>")
    data = (folder / "b" / "7.jpg").read_bytes()
    (folder / "b" / "7.jpg").write_bytes(data[: len(data) // 2])
    return source


def test_bad_images_are_listed_and_there_is_no_index(prepare, bad):
    for _ in range(2):  # the second time all shards exist
        code, out, err = prepare("source", "dest")
        assert code == 1 and len(err.splitlines()) == 1
        assert err.startswith("error: the index was not written because of bad images (2): replace")
        lines = [line for line in out.splitlines() if line.startswith("bad     ")]
        assert len(lines) == 2
        assert lines[0].startswith("bad     source/train/a/1.jpg can't be read as an image (not an")
        assert lines[1].startswith("bad     source/train/b/7.jpg can't be read as an image (")
        assert not list(Path("dest").rglob(INDEX))


def test_bad_images_can_be_left_out(prepare, bad):
    prepare("source", "dest")
    code, out, _ = prepare("source", "dest", "--skip-bad")
    assert code == 0 and "resume  6 of 6 shards" in out and out.count("bad     ") == 2
    assert "dest/train: 14 images of 2 classes, " in out and "MB, 2 left out" in out
    assert prepare("source", "at_once", "--skip-bad")[0] == 0
    assert contents("at_once") == contents("dest")
    before, after = (
        list_images_strict(bad / "train").paths,
        list_images_strict(Path("dest/train")).paths,
    )
    left_out = {"a/1.jpg", "b/7.jpg"}
    assert after == {
        name: [p for p in paths if p not in left_out] for name, paths in before.items()
    }
    _, shards = read_index(Path("dest/train", INDEX))
    assert {name for shard in shards for name in shard.left_out} == left_out


def test_a_class_of_bad_images_only_is_not_left_out(prepare, source):
    for path in (source / "val" / "a").iterdir():
        path.write_bytes(b"")
    code, _, err = prepare("source", "dest", "--skip-bad")
    assert code == 1 and err.startswith("error: source/val/a has no valid image: replace")
    assert not Path("dest/val", INDEX).exists()


# Mistakes


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (("source",), 2, "DEST"),
        (("source", "dest", "--quality", "101"), 2, "'101' is not a whole number from 1 to 100"),
        (("source", "dest", "--short-side", "0"), 2, "'0' is not a whole number above 0"),
        (("gone", "dest"), 1, "gone does not exist: set it to the folder with the images"),
        (("source", "source"), 1, "source and source must not contain each other: choose another"),
        (("source", "source/dest"), 1, "source and source/dest must not contain each other"),
        (("source/train", "source"), 1, "source/train and source must not contain each other"),
        (("source", "."), 1, "source and . must not contain each other"),
        (("source", "full"), 1, "full/train contains other files (cat): choose an empty"),
        (("source", "file"), 1, "error: file/train: not a directory"),
    ],
)
def test_mistakes_are_one_sentence(prepare, source, argv, code, sentence):
    Path("full/train/cat").mkdir(parents=True)
    Path("file").touch()
    before = contents(".")
    found, _, err = prepare(*argv)
    assert found == code and sentence in err
    assert len(err.splitlines()) == 1
    assert contents(".") == before


def test_other_options_than_those_of_the_shards_are_refused(prepare, source):
    prepare("source", "dest")
    code, _, err = prepare("source", "dest", "--quality", "90")
    assert code == 1 and len(err.splitlines()) == 1
    assert "quality 95, images_per_shard 5, not with short_side 16, quality 90, images_per" in err


def test_shards_are_not_made_from_shards(prepare, source):
    prepare("source", "dest")
    code, _, err = prepare("dest", "again")
    assert (code, err) == (
        1,
        "error: dest/train contains shards: give the tree that they were made from\n",
    )


def test_a_full_disk_is_one_sentence_and_the_run_can_resume(prepare, source, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = prepare("source", "dest")
    assert (code, err) == (1, "error: dest: no space left on device\n")
    assert prepare("source", "dest")[0] == 0
    assert set(contents("dest")) == COMPLETE


def test_an_unreadable_folder_is_one_sentence(prepare, source, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("train/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, _, err = prepare("source", "dest")
    assert (code, err) == (1, "error: source/train/b: permission denied\n")
