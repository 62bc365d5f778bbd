"""CIFAR-10 and CIFAR-100, from the official python archives.

An archive is read from its folder or from inside the .tar.gz, and its checksums are verified. Its
pickles can create nothing but arrays, lists, dicts, strings and numbers.

Reference: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from mobilenets.data.memory import RawSplit
from mobilenets.download import download


class _Layout(NamedTuple):
    """The layout of an archive; the lists hold [file, md5]."""

    url: str
    archive: str  # name of the .tar.gz
    archive_md5: str
    archive_sha256: str  # torchvision has only the weaker md5
    folder: str  # name of the folder in the archive
    train: list[list[str]]
    test: list[list[str]]
    meta: str  # name of the file with the class names
    labels_key: str
    names_key: str

    @property
    def md5(self) -> dict[str, str]:
        return dict(self.train + self.test)

    @classmethod
    def from_torchvision(cls, official: type[CIFAR10], labels_key: str, sha256: str) -> "_Layout":
        return cls(
            url=official.url,
            archive=official.filename,
            archive_md5=official.tgz_md5,
            archive_sha256=sha256,
            folder=official.base_folder,
            train=official.train_list,
            test=official.test_list,
            meta=official.meta["filename"],
            labels_key=labels_key,
            names_key=official.meta["key"],
        )


# Limits in bytes; the official archives have up to 170 MB, and unpack to 186 MB, with a largest
# member of 155 MB.
MAX_ARCHIVE, MAX_MEMBER, MAX_UNPACKED = 1 << 28, 1 << 28, 1 << 29
MAX_MEMBERS = 100
LAYOUTS = {
    "cifar10": _Layout.from_torchvision(
        CIFAR10,
        labels_key="labels",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": _Layout.from_torchvision(
        CIFAR100,
        labels_key="fine_labels",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}


def read_cifar10(
    *, root: str, download: bool, verify: bool, class_names: Sequence[str] | None
) -> tuple[dict[str, RawSplit], list[str]]:
    """Read CIFAR-10: 50,000 training and 10,000 test images, 32x32, 10 classes.

    Args:
        root: the folder of batches, the .tar.gz, or the folder that contains one of them.
        download: download the .tar.gz to `root` if it is missing.
        verify: check the official checksums.
        class_names: names of the classes, which must equal those in the archive; None takes those.

    Returns:
        {"train": ..., "test": ...} and the class names.

    Raises:
        ValueError: the archive is missing, damaged or a different one.
    """
    return _read(LAYOUTS["cifar10"], Path(root).expanduser(), download, verify, class_names)


def read_cifar100(
    *, root: str, download: bool, verify: bool, class_names: Sequence[str] | None
) -> tuple[dict[str, RawSplit], list[str]]:
    """Read CIFAR-100 with its 100 fine labels: 50,000 training and 10,000 test images, 32x32.

    Arguments, result and errors are those of `read_cifar10`.
    """
    return _read(LAYOUTS["cifar100"], Path(root).expanduser(), download, verify, class_names)


def _read(
    layout: _Layout, root: Path, download: bool, verify: bool, class_names: Sequence[str] | None
) -> tuple[dict[str, RawSplit], list[str]]:
    source = _find(layout, root)
    if source is None:
        source = _download(layout, root, download)
    contents = (_read_folder if source.is_dir() else _read_archive)(layout, source, verify)
    files = {name: _unpickle(source, name, content) for name, content in contents}
    if missing := [name for name in layout.md5 if name not in files]:
        raise ValueError(
            f"{source} has no {missing[0]}: download {layout.archive} again from {layout.url}, or "
            "delete what is there and set data.download=true"
        )
    splits = {
        split: _concat([_parse(layout, source, name, files.pop(name)) for name, _ in batches])
        for split, batches in (("train", layout.train), ("test", layout.test))
    }
    names = _read_class_names(layout, source, files.get(layout.meta), class_names)
    largest = max(int(split.labels.max()) for split in splits.values())
    if largest >= len(names):
        raise ValueError(
            f"{source} has labels up to {largest}, but there are {len(names)} class names: give "
            "one per label, or set data.class_names=null to use the archive's"
        )
    return splits, names


def _find(layout: _Layout, root: Path) -> Path | None:
    """Return the folder of batches or the archive, at `root` or directly below it."""
    if root.is_file():
        return root
    for folder in (root, root / layout.folder):
        if any((folder / name).is_file() for name in layout.md5):
            return folder
    archive = root / layout.archive
    return archive if archive.is_file() else None


def _download(layout: _Layout, root: Path, allowed: bool) -> Path:
    """Download the archive to `root` and return its path."""
    target = root if root.name.endswith(".tar.gz") else root / layout.archive
    by_hand = f"download {layout.url} to that path, or set data.root to where you have it"
    if not allowed:
        raise ValueError(f"{target} is missing: {by_hand}, or set data.download=true")
    try:
        download(layout.url, target, layout.archive_sha256, MAX_ARCHIVE)
    except (OSError, HTTPException, ValueError) as error:
        raise ValueError(
            f"{target} is missing and downloading it failed ({error}): {by_hand}"
        ) from None
    return target


def _read_folder(layout: _Layout, folder: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    for name in [*layout.md5, layout.meta]:
        path = folder / name
        if path.is_file():
            if verify and name in layout.md5:
                _check_md5(path, layout.md5[name])
            yield name, path.read_bytes()


def _read_archive(layout: _Layout, archive: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    """Read the files from the .tar.gz without unpacking it."""
    if verify:
        _check_md5(archive, layout.archive_md5)
    wanted = {f"{layout.folder}/{name}": name for name in [*layout.md5, layout.meta]}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            unpacked = 0
            for number, member in enumerate(tar):
                unpacked += member.size
                too_large = member.size > MAX_MEMBER or unpacked > MAX_UNPACKED
                if number == MAX_MEMBERS or too_large:
                    raise tarfile.TarError(f"{member.name} is beyond the size limits")
                name = wanted.get(member.name.removeprefix("./"))
                if name and member.isfile() and (file := tar.extractfile(member)):
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{archive} can't be read as a .tar.gz ({error}): delete it and download it again "
            f"({layout.url})"
        ) from None


def _check_md5(path: Path, md5: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise ValueError(
            f"{path} has the md5 checksum {found}, the official file {md5}: replace it, or set "
            "data.verify=false if it differs on purpose"
        )


def _parse(layout: _Layout, source: Path, name: str, batch: dict[str, Any]) -> RawSplit:
    try:
        pixels = np.ascontiguousarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.array(batch[layout.labels_key], dtype=np.int64)
        if len(pixels) != len(labels):
            raise ValueError(f"{len(pixels)} images, {len(labels)} labels")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _invalid_file(source, name, error) from None
    return RawSplit(torch.from_numpy(pixels), torch.from_numpy(labels))


def _read_class_names(
    layout: _Layout, source: Path, meta: dict[str, Any] | None, given: Sequence[str] | None
) -> list[str]:
    if meta is None and given is None:
        raise ValueError(
            f"{source} has no file {layout.meta} with the class names: add it, or set "
            "data.class_names"
        )
    if meta is None:
        return list(given or ())
    try:
        names = [_text(name) for name in meta[layout.names_key]]
    except (KeyError, TypeError) as error:
        raise _invalid_file(source, layout.meta, error) from None
    if given is not None and list(given) != names:
        raise ValueError(
            f"data.class_names is not the list in {layout.meta} of {source} ({', '.join(names[:3])}"
            ", ...): set data.class_names=null to use that list"
        )
    return names


def _concat(parts: list[RawSplit]) -> RawSplit:
    return RawSplit(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _invalid_file(source: Path, name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{name} of {source} is not a file of CIFAR's python version ({type(error).__name__}: "
        f"{error}): download the archive again"
    )


def _unpickle(source: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        unpickled = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        return {_text(key): value for key, value in unpickled.items()}
    except Exception as error:  # damaged pickles raise anything
        raise _invalid_file(source, name, error) from None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _latin1(text: str, encoding: str) -> bytes:
    """Replace codecs.encode, by which Python 3 pickles byte strings for Python 2."""
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that creates arrays and plain containers, and refuses all else."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        (package + module, name): value
        for package in ("numpy.core.", "numpy._core.")  # NumPy 1's name and NumPy 2's
        for module, name, value in (
            ("multiarray", "_reconstruct", np.empty(0).__reduce__()[0]),
            ("numeric", "_frombuffer", np.empty(0).__reduce_ex__(5)[0]),
        )
    } | {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return an allowed global, or raise UnpicklingError."""
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module_name}.{global_name}")
        return self._ALLOWED[module_name, global_name]
