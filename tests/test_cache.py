"""The cache makes a file once, notices damage, and is not needed."""

import os
from pathlib import Path

import pytest

from mobilenets import cache
from mobilenets.cache import cache_folder, cached, find_cached


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache/mobilenets"
    return cache_folder()


@pytest.fixture
def make():
    """A function that writes "made" into a path, and records it in `make.paths`."""

    def write(path):
        write.paths.append(path)
        path.write_text("made")

    write.paths = []
    return write


def test_the_folder_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache/mobilenets"


def test_a_file_is_made_once(folder, make):
    assert find_cached("net", ".bin") is None
    for _ in range(3):
        with cached("net", ".bin", make) as path:
            assert path.read_text() == "made" and path.parent == folder
    assert len(make.paths) == 1
    assert find_cached("net", ".bin") == path
    assert [file.name for file in folder.iterdir()] == [path.name], "no partial file is left over"


def test_keys_and_suffixes_are_kept_apart(folder, make):
    for key, suffix in (("net", ".bin"), ("net", ".so"), ("other", ".bin")):
        with cached(key, suffix, make):
            pass
    assert len(make.paths) == len(list(folder.iterdir())) == 3


def test_a_damaged_file_is_made_again(folder, make):
    with cached("net", ".bin", make) as path:
        path.write_text("damaged")
    assert find_cached("net", ".bin") is None
    assert not path.exists()
    with cached("net", ".bin", make) as path:
        assert path.read_text() == "made"
    assert len(make.paths) == 2


def test_the_least_recently_used_files_are_removed(folder, make, monkeypatch):
    monkeypatch.setattr(cache, "MAX_FILES", 2)
    for time, key in enumerate(("a", "b")):
        with cached(key, ".bin", make) as path:
            os.utime(path, (time, time))
    with cached("a", ".bin", make):  # used again, so "b" is the oldest
        pass
    with cached("c", ".bin", make):
        pass
    assert sorted(file.name[0] for file in folder.iterdir()) == ["a", "c"]


def test_without_a_writable_cache_the_file_exists_within_the_block(folder, make):
    folder.parent.write_text("a file in place of the folder")
    with cached("net", ".bin", make) as path:
        assert path.read_text() == "made"
    assert not path.exists()
    assert find_cached("net", ".bin") is None


def test_a_file_that_cannot_be_made_leaves_nothing(folder):
    def fail(path):
        path.write_text("half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), cached("net", ".bin", fail):
        pass
    assert not list(folder.glob("*"))
