"""CIFAR-10 and CIFAR-100, from the official python archives.

The archive is read from the folder or from inside the .tar.gz, its checksums are verified, and its
pickles can build nothing but arrays, lists, dicts, strings and numbers.

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
from mobilenets.download import download as fetch


class _Layout(NamedTuple):
    """How an archive is laid out; the lists hold (file, md5)."""

    url: str
    archive: str  # the name of the .tar.gz
    archive_md5: str
    archive_sha256: str  # torchvision knows the weaker sum only
    folder: str  # the folder within it
    train: list[list[str]]
    test: list[list[str]]
    meta: str  # the file with the class names
    labels_key: str
    names_key: str

    @property
    def md5(self) -> dict[str, str]:
        return dict(self.train + self.test)

    @classmethod
    def of(cls, official: type[CIFAR10], labels_key: str, sha256: str) -> "_Layout":
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


# Of an archive: the two have up to 170 MB, unpack to 186 MB, and the largest member has 155 MB.
MAX_ARCHIVE, MAX_MEMBER, MAX_UNPACKED, MAX_MEMBERS = 1 << 28, 1 << 28, 1 << 29, 100
LAYOUTS = {
    "cifar10": _Layout.of(
        CIFAR10,
        labels_key="labels",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar100": _Layout.of(
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
        root: The folder with the batches, the folder above it, the .tar.gz, or the folder that
            has it.
        download: Fetch the .tar.gz into `root` when there is nothing.
        verify: Insist on the official checksums.
        class_names: What the classes are called; checked against the archive's list.

    Returns:
        {"train": ..., "test": ...} and the class names.

    Raises:
        ValueError: The archive is missing, damaged or another one.
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
    place = _find(layout, root)
    if place is None:
        place = _obtain(layout, root, download)
    contents = (_folder_files if place.is_dir() else _archive_files)(layout, place, verify)
    files = {name: _unpickle(place, name, content) for name, content in contents}
    if missing := [name for name in layout.md5 if name not in files]:
        raise ValueError(
            f"{place} holds no {missing[0]}: get {layout.archive} again from {layout.url}, or "
            "remove what is there, to have it downloaded"
        )
    splits = {
        split: _join([_images(layout, place, name, files.pop(name)) for name, _ in listed])
        for split, listed in (("train", layout.train), ("test", layout.test))
    }
    names = _class_names(layout, place, files.get(layout.meta), class_names)
    largest = max(int(split.labels.max()) for split in splits.values())
    if largest >= len(names):
        raise ValueError(
            f"{place} has labels up to {largest}, but {len(names)} class names: one for each "
            "label is needed (the archive's own with data.class_names=null)"
        )
    return splits, names


def _find(layout: _Layout, root: Path) -> Path | None:
    """Find the folder of batches, or the archive, at or below `root`."""
    if root.is_file():
        return root
    for folder in (root, root / layout.folder):
        if any((folder / name).is_file() for name in layout.md5):
            return folder
    archive = root / layout.archive
    return archive if archive.is_file() else None


def _obtain(layout: _Layout, root: Path, download: bool) -> Path:
    """Download the archive into `root`; it gets its name only when it is complete."""
    target = root if root.name.endswith(".tar.gz") else root / layout.archive
    by_hand = f"download {layout.url} and put it there, or set data.root to where you have it"
    if not download:
        raise ValueError(f"{target} is missing: {by_hand}, or set data.download=true")
    try:
        fetch(layout.url, target, layout.archive_sha256, MAX_ARCHIVE)
    except (OSError, HTTPException, ValueError) as error:
        raise ValueError(
            f"{target} is missing and downloading it failed ({error}): {by_hand}"
        ) from None
    return target


def _folder_files(layout: _Layout, folder: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    for name in [*layout.md5, layout.meta]:
        path = folder / name
        if path.is_file():
            if verify and name in layout.md5:
                _check(path, layout.md5[name])
            yield name, path.read_bytes()


def _archive_files(layout: _Layout, archive: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    """Read the files from the .tar.gz without unpacking it."""
    if verify:
        _check(archive, layout.archive_md5)
    wanted = {f"{layout.folder}/{name}": name for name in [*layout.md5, layout.meta]}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            unpacked = 0
            for number, member in enumerate(tar):
                unpacked += member.size
                large = member.size > MAX_MEMBER or unpacked > MAX_UNPACKED
                if number == MAX_MEMBERS or large:
                    raise tarfile.TarError(f"{member.name} is too much for it")
                name = wanted.get(member.name.removeprefix("./"))
                if name and member.isfile() and (file := tar.extractfile(member)):
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{archive} can't be read as a .tar.gz ({error}): delete it and download it again "
            f"({layout.url})"
        ) from None


def _check(path: Path, md5: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise ValueError(
            f"{path} has the md5 checksum {found}, the official file {md5}: replace it, or set "
            "data.verify=false if it is meant to differ"
        )


def _images(layout: _Layout, place: Path, name: str, batch: dict[str, Any]) -> RawSplit:
    try:
        pixels = np.ascontiguousarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.array(batch[layout.labels_key], dtype=np.int64)
        if len(pixels) != len(labels):
            raise ValueError(f"{len(pixels)} images, {len(labels)} labels")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _not_cifar(place, name, error) from None
    return RawSplit(torch.from_numpy(pixels), torch.from_numpy(labels))


def _class_names(
    layout: _Layout, place: Path, meta: dict[str, Any] | None, given: Sequence[str] | None
) -> list[str]:
    if meta is None and given is None:
        raise ValueError(
            f"{place} has no file {layout.meta} with the class names: add it, or set "
            "data.class_names"
        )
    if meta is None:
        return list(given or ())
    try:
        names = [_text(name) for name in meta[layout.names_key]]
    except (KeyError, TypeError) as error:
        raise _not_cifar(place, layout.meta, error) from None
    if given is not None and list(given) != names:
        raise ValueError(
            f"data.class_names is not the list in {layout.meta} of {place} ({', '.join(names[:3])}"
            ", ...): set data.class_names=null to take that one"
        )
    return names


def _join(parts: list[RawSplit]) -> RawSplit:
    return RawSplit(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _not_cifar(place: Path, name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{name} of {place} is not a file of CIFAR's python version ({type(error).__name__}: "
        f"{error}): download the archive again"
    )


def _unpickle(place: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        unpickled = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        return {_text(key): value for key, value in unpickled.items()}
    except Exception as error:  # damaged pickles raise anything
        raise _not_cifar(place, name, error) from None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for codecs.encode, which is how Python 2's byte strings are written by Python 3."""
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for arrays and plain containers: whatever else is named is refused."""

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
        """Look a name up among the few that are allowed."""
        if (module_name, global_name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module_name}.{global_name}")
        return self._ALLOWED[module_name, global_name]
