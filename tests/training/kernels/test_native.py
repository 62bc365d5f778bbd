"""Compiling the kernels, if there is a compiler."""

import stat
import sys

import pytest

from mobilenets.training.kernels import native


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache/mobilenets"
    native.load(False)


@pytest.fixture
def compiler():
    """Skip if no compiler works."""
    if not native.load():
        pytest.skip("there is no C compiler whose OpenMP is torch's")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_it_is_compiled_once(compiler, cache, monkeypatch):
    (file,) = cache.iterdir()
    assert file.suffix == ".so"
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("it is compiled again"))
    assert native.load() and native.library is not None
    assert not native.load(False) and native.library is None


def test_another_source_or_compiler_is_another_file(compiler, cache, monkeypatch, tmp_path):
    source = tmp_path / "batchnorm.c"
    source.write_text(native.SOURCE.read_text() + "\n/* changed */\n")
    monkeypatch.setattr(native, "SOURCE", source)
    assert native.load()
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-O2"))
    assert native.load()
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("text", ["exit 1", "exec true"])
def test_a_compiler_that_fails_is_ignored(text, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(script(tmp_path / "cc", text)))
    assert not native.load()
    assert native.library is None
    assert not list(cache.glob("*"))


def test_no_compiler_is_no_error(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert not native.load()


def test_without_a_writable_cache_each_process_compiles(compiler, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.load()


def test_a_damaged_library_is_compiled_again(compiler, cache):
    (file,) = cache.iterdir()
    native.load(False)
    file.unlink()  # the process may still run the old one
    file.write_bytes(b"cut short")
    assert native.load()
    assert file.stat().st_size > 1000


def test_a_file_that_is_no_library_is_ignored(compiler, monkeypatch):
    monkeypatch.setattr(native, "_fingerprint", lambda compiler: "other")
    monkeypatch.setattr(native, "_compile", lambda compiler, path: path.write_bytes(b"no library"))
    assert not native.load()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    assert not native.load()
