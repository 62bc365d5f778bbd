"""Files are replaced as a whole or not at all."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mobilenets import atomic
from mobilenets.atomic import (
    atomic_files,
    atomic_path,
    new_folder,
    remove,
    remove_partial_files,
    write_json,
    write_text,
)


def contents(folder):
    """Return every file below a folder: {path: text}."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def full_disk(*args):
    raise OSError(28, "No space left on device")


@pytest.fixture
def old(tmp_path):
    """A folder with a file, to be replaced."""
    (tmp_path / "a.txt").write_text("old")
    return tmp_path


# One file


def test_a_file_takes_its_place_after_the_block(old):
    with atomic_path(old / "a.txt") as partial:
        partial.write_text("new")
        assert partial.parent == old and partial.name.startswith(".a.txt.")
        assert (old / "a.txt").read_text() == "old"
    assert contents(old) == {"a.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_the_old_file(old, error):
    with pytest.raises(error), atomic_path(old / "a.txt") as partial:
        partial.write_text("half")
        raise error
    assert contents(old) == {"a.txt": "old"}


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_leaves_the_old_file(old, monkeypatch, owner, name):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_text(old / "a.txt", "new")
    assert contents(old) == {"a.txt": "old"}


def test_a_block_that_writes_nothing_is_an_error(old):
    with pytest.raises(FileNotFoundError), atomic_path(old / "a.txt"):
        pass
    assert contents(old) == {"a.txt": "old"}


def test_content_is_flushed_before_the_rename_and_the_name_after_it(old, monkeypatch):
    calls = []
    fsync, replace = atomic._fsync, Path.replace
    monkeypatch.setattr(atomic, "_fsync", lambda path: (calls.append(path.name), fsync(path)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (calls.append("->"), replace(*paths)))
    write_text(old / "a.txt", "new")
    partial, arrow, folder = calls
    assert partial.startswith(".a.txt.") and (arrow, folder) == ("->", old.name)


KILLED = """
import os, signal, sys
from pathlib import Path
from mobilenets.atomic import atomic_files, atomic_path

folder = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic_path(folder / "a.txt") as partial:
        partial.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
else:
    with atomic_files(folder) as scratch:
        (scratch / "a.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "files"])
def test_a_killed_process_leaves_the_old_file_and_a_partial_one_that_can_be_removed(old, kind):
    command = [sys.executable, "-c", KILLED, str(old), kind]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = contents(old)
    assert left.pop("a.txt") == "old"
    assert list(left.values()) == ["half"]
    remove_partial_files(old)
    assert contents(old) == {"a.txt": "old"}
    assert len(list(old.iterdir())) == 1


def test_concurrent_writers_leave_one_complete_file(old):
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda text: write_text(old / "a.txt", text), texts))
            assert (old / "a.txt").read_text() in texts
    assert len(list(old.iterdir())) == 1


def test_text_is_utf_8_and_json_is_indented(tmp_path):
    write_text(tmp_path / "a.txt", "größer")
    write_json(tmp_path / "a.json", {"top1": 0.5})
    assert (tmp_path / "a.txt").read_bytes() == "größer".encode()
    assert (tmp_path / "a.json").read_text() == '{\n  "top1": 0.5\n}\n'


# A folder


def test_a_folder_replaces_a_folder_or_a_file(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "old.txt").write_text("old")
    (tmp_path / "other").write_text("old")
    for name in ("net", "other"):
        with atomic_path(tmp_path / name) as partial:
            (partial / "deep").mkdir(parents=True)
            (partial / "deep" / "new.txt").write_text("new")
    assert contents(tmp_path) == {"net/deep/new.txt": "new", "other/deep/new.txt": "new"}


def test_an_error_in_the_block_leaves_the_old_folder(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="no"), atomic_path(tmp_path / "net") as partial:
        partial.mkdir()
        (partial / "new.txt").write_text("half")
        raise ValueError("no")
    assert contents(tmp_path) == {"net/old.txt": "old"}


# A set of files


def test_a_set_of_files_takes_its_place_after_the_block(old):
    (old / "b.txt").write_text("stays")
    with atomic_files(old) as scratch:
        (scratch / "a.txt").write_text("new")
        (scratch / "net").mkdir()
        (scratch / "net" / "c.txt").write_text("new")
        assert contents(old).keys() >= {"a.txt", "b.txt"} and (old / "a.txt").read_text() == "old"
    assert contents(old) == {"a.txt": "new", "b.txt": "stays", "net/c.txt": "new"}
    assert not list(old.glob(".*"))


def test_an_error_in_the_block_moves_no_file_of_a_set(old):
    with pytest.raises(ValueError, match="no"), atomic_files(old) as scratch:
        (scratch / "a.txt").write_text("half")
        raise ValueError("no")
    assert contents(old) == {"a.txt": "old"} and len(list(old.iterdir())) == 1


def test_the_folder_of_a_set_is_made(tmp_path):
    with atomic_files(tmp_path / "new" / "folder") as scratch:
        (scratch / "a.txt").write_text("new")
    assert contents(tmp_path) == {"new/folder/a.txt": "new"}


# Removing


def test_partial_files_and_folders_are_removed_and_nothing_else(old):
    (old / ".a.txt.0123abcd.part").touch()
    (old / ".net.0123abcd.part").mkdir()
    (old / ".net.0123abcd.part" / "b.txt").touch()
    for name in (".hidden", "b.part"):
        (old / name).write_text("stays")
    remove_partial_files(old)
    assert contents(old) == {"a.txt": "old", ".hidden": "stays", "b.part": "stays"}
    assert len(list(old.iterdir())) == 3


def test_a_link_is_removed_and_its_target_is_not(old):
    (old / "target").mkdir()
    (old / "link").symlink_to(old / "target", target_is_directory=True)
    remove(old / "link")
    remove(old / "gone")
    assert {path.name for path in old.iterdir()} == {"a.txt", "target"}


def test_folders_made_in_vain_are_removed_again(tmp_path):
    with pytest.raises(OSError), new_folder(tmp_path / "a" / "b"):
        raise OSError("no network")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError), new_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
        raise OSError("no network")
    assert (tmp_path / "a" / "b" / "file").exists()
    with new_folder(tmp_path / "c"):
        pass
    assert (tmp_path / "c").is_dir()
