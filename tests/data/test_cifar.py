import hashlib
import os
import pickle
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilenets.data import cifar
from mobilenets.data.cifar import read_cifar10, read_cifar100

NAMES = [f"kind {index}" for index in range(10)]
PER_FILE = 4


def pixels(number):
    generator = np.random.default_rng(number)
    return generator.integers(0, 256, (PER_FILE, 3072)).astype(np.uint8)


def write_cifar10(folder: Path, *, protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    files = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(files):
        # Protocol 2 with byte strings as keys: what the official files hold.
        batch = {b"data": pixels(number), b"labels": [number, 0, 1, 9]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_cifar10(tmp_path / "cifar-10-batches-py")


@pytest.fixture
def archive(folder, tmp_path):
    path = tmp_path / "packed" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    return path


def read(root, *, download=False, verify=False, class_names=None):
    return read_cifar10(root=str(root), download=download, verify=verify, class_names=class_names)


def contents(folder):
    return [path.name for path in folder.iterdir()]


def check(splits, names):
    assert names == NAMES
    images, labels = splits["train"]
    assert images.shape == (20, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.tolist()[:6] == [0, 0, 1, 9, 1, 0]
    for number in range(5):
        part = images[PER_FILE * number : PER_FILE * (number + 1)]
        assert np.array_equal(part.reshape(PER_FILE, -1), pixels(number))
    assert np.array_equal(splits["test"].images.reshape(PER_FILE, -1), pixels(5))


def test_a_folder_is_read_by_its_path_or_its_parent(folder):
    check(*read(folder))
    check(*read(folder.parent))


def test_an_archive_is_read_in_place_by_its_path_or_its_folder(archive):
    check(*read(archive))
    check(*read(archive.parent))
    assert contents(archive.parent) == [archive.name]


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_every_protocol_of_pickle_is_read(tmp_path, protocol):
    check(*read(write_cifar10(tmp_path / "copy", protocol=protocol)))


def test_pickles_of_numpy_1_are_read(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    check(*read(folder))


def test_cifar100_has_fine_labels(tmp_path):
    names = [f"kind {index}" for index in range(100)]
    for name in ("train", "test"):
        batch = {"data": pixels(0), "fine_labels": [0, 5, 99, 1], "coarse_labels": [0, 0, 1, 1]}
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    splits, found = read_cifar100(
        root=str(tmp_path), download=False, verify=False, class_names=None
    )
    assert splits["train"].labels.tolist() == [0, 5, 99, 1] and found == names


def official(monkeypatch, folder=None, archive=None):
    """Make the checksums of these files the official ones."""
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    layout = cifar.LAYOUTS["cifar10"]
    layout = layout._replace(
        train=[[name, md5[name]] for name, _ in layout.train],
        test=[[name, md5[name]] for name, _ in layout.test],
    )
    if archive is not None:
        layout = layout._replace(archive_md5=hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setitem(cifar.LAYOUTS, "cifar10", layout)


def test_checksums_are_the_published_ones():
    assert cifar.LAYOUTS["cifar10"].archive_md5 == "c58f30108f718f92721af3b95e74349a"
    assert cifar.LAYOUTS["cifar100"].archive_md5 == "eb9058c3a382ffc7106e4002c42a8d85"
    for layout in cifar.LAYOUTS.values():
        assert layout.url.startswith("https://") and len(layout.archive_sha256) == 64


def test_official_checksums_are_accepted(folder, archive, monkeypatch):
    official(monkeypatch, folder, archive)
    check(*read(folder, verify=True))
    check(*read(archive, verify=True))


def test_wrong_checksums_are_reported(folder, archive, monkeypatch):
    for place, name in ((folder, "data_batch_1"), (archive, archive.name)):
        with pytest.raises(ValueError, match=rf"{name} has the md5 checksum .*data.verify=false"):
            read(place, verify=True)
    official(monkeypatch, folder)
    (folder / "test_batch").write_bytes(b"something else")
    with pytest.raises(ValueError, match="test_batch has the md5 checksum"):
        read(folder, verify=True)


def test_the_error_for_missing_data_names_the_fix(tmp_path):
    with pytest.raises(ValueError) as error:
        read(tmp_path / "nowhere")
    message = str(error.value)
    assert f"{tmp_path / 'nowhere' / 'cifar-10-python.tar.gz'} is missing" in message
    assert "download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in message
    assert "data.root" in message and "data.download=true" in message
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "failure",
    [urllib.error.URLError("no route"), ValueError("its sha256 is another one")],
)
def test_the_error_for_a_failed_download_names_the_fix(tmp_path, monkeypatch, failure):
    def fail(*args):
        raise failure

    monkeypatch.setattr(cifar, "download", fail)
    with pytest.raises(ValueError) as error:
        read(tmp_path / "data", download=True)
    message = str(error.value)
    assert f"{tmp_path / 'data' / 'cifar-10-python.tar.gz'} is missing" in message
    assert "downloading it failed" in message and "to that path" in message
    assert not (tmp_path / "data").exists()


def test_the_archive_is_downloaded_once_with_its_checksum(archive, tmp_path, monkeypatch):
    asked = []

    def download(url, path, sha256, limit):
        asked.append((url, sha256, limit))
        path.parent.mkdir()
        path.write_bytes(archive.read_bytes())

    monkeypatch.setattr(cifar, "download", download)
    for _ in range(2):
        check(*read(tmp_path / "data", download=True))
    layout = cifar.LAYOUTS["cifar10"]
    assert asked == [(layout.url, layout.archive_sha256, cifar.MAX_ARCHIVE)]
    assert contents(tmp_path / "data") == ["cifar-10-python.tar.gz"]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_that_would_run_code_are_refused(folder, tmp_path):
    target = tmp_path / "pwned"
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": Evil(str(target))}))
    with pytest.raises(ValueError, match=r"data_batch_2 of .* would run (posix|nt)\.mkdir"):
        read(folder)
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        pickle.dumps([1, 2]),
        pickle.dumps({"labels": [1]}),
        pickle.dumps({"data": pixels(0)[:, :100], "labels": [0, 1, 2, 3]}),
        pickle.dumps({"data": pixels(0), "labels": [0, 1]}),
        pickle.dumps({"data": pixels(0), "labels": ["a", "b", "c", "d"]}),
    ],
)
def test_damaged_files_are_reported(folder, content):
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_3 of .* is not a file of CIFAR.*download"):
        read(folder)


def test_a_missing_file_is_reported(folder):
    (folder / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"has no data_batch_4: download cifar-10-python.tar.gz"):
        read(folder)


def test_a_damaged_archive_is_reported(archive):
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz can't be read as a .tar.gz"):
        read(archive)
    archive.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"can't be read as a .tar.gz .*delete it and download"):
        read(archive)


def test_an_archive_beyond_the_size_limits_is_not_read(archive, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_MEMBER", 1000)
    with pytest.raises(ValueError, match=r"data_batch_\d is beyond the size limits\): delete it"):
        read(archive)
    monkeypatch.undo()
    for name, limit in (("MAX_MEMBERS", 5), ("MAX_UNPACKED", 10_000)):
        with monkeypatch.context() as patch:
            patch.setattr(cifar, name, limit)
            with pytest.raises(ValueError, match="is beyond the size limits"):
                read(archive)


def test_links_in_an_archive_are_not_followed(archive, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(link)
    with pytest.raises(ValueError, match="has no data_batch_1"):
        read(archive)


def test_class_names_are_checked_against_the_archive(folder):
    check(*read(folder, class_names=NAMES))
    with pytest.raises(ValueError, match=r"not the list in batches.meta .*data.class_names=null"):
        read(folder, class_names=NAMES[::-1])
    (folder / "batches.meta").unlink()
    assert read(folder, class_names=NAMES)[1] == NAMES
    with pytest.raises(ValueError, match=r"no file batches.meta .*set data.class_names"):
        read(folder)
    with pytest.raises(ValueError, match=r"labels up to 9, but there are 3 class names"):
        read(folder, class_names=NAMES[:3])
