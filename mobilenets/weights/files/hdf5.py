"""HDF5 files, read within bounds and without following links out of the file."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from mobilenets.weights.files.arrays import check_numeric, to_tensor
from mobilenets.weights.files.limits import UnreadableFile, check_count, check_size

if TYPE_CHECKING:
    import h5py

SAVE_AGAIN = "which Keras does not write: save the weights with Keras again"

# A heap of strings: signature and version, its size, then objects, each with index and size.
# Index 0 is free space, whose size includes this header of 16 bytes.
HEAP = b"GCOL\x01\0\0\0"
HEAP_SIZE, HEAP_OBJECT = struct.Struct("<8xQ"), struct.Struct("<H6xQ")


@contextmanager
def open_hdf5(content: bytes) -> "Iterator[h5py.File]":
    """Open an HDF5 file that is in memory, after a check of its heaps.

    At a damaged object in a heap, the HDF5 library would loop for ever.
    """
    import h5py

    start = content.find(HEAP)
    while start >= 0:
        _check_heap(content, start)
        start = content.find(HEAP, start + len(HEAP))
    with h5py.File(io.BytesIO(content), "r") as file:
        yield file


def _check_heap(content: bytes, start: int) -> None:
    header = content[start : start + HEAP_SIZE.size].ljust(HEAP_SIZE.size, b"\0")
    end = min(start + HEAP_SIZE.unpack(header)[0], len(content))
    position = start + HEAP_SIZE.size
    while position + HEAP_OBJECT.size <= end:
        index, size = HEAP_OBJECT.unpack_from(content, position)
        step = HEAP_OBJECT.size + -(-size // 8) * 8 if index else size
        if step < HEAP_OBJECT.size or position + step > end:
            raise UnreadableFile(
                "is a damaged HDF5 file (a heap of strings does not add up): get it again"
            )
        position += step


def list_datasets(root: "h5py.Group") -> "dict[str, h5py.Dataset]":
    """List all data sets of a file by path, without reading their values.

    Raises:
        UnreadableFile: too many objects or bytes, a link, or values outside the file.
    """
    import h5py

    found: dict[str, h5py.Dataset] = {}
    seen = {_find_address(root)}  # hard links can form circles
    groups = [("", root)]  # grows as groups are found
    for prefix, group in groups:
        check_count(len(seen) + len(group), "HDF5 objects")
        for key in group.id:
            path = f"{prefix}{key.decode()}"
            if group.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                raise UnreadableFile(f"has a link to somewhere else at {path!r}, {SAVE_AGAIN}")
            child = group[key]
            if _find_address(child) in seen:
                raise UnreadableFile(f"has the same object twice, once at {path!r}, {SAVE_AGAIN}")
            seen.add(_find_address(child))
            if isinstance(child, h5py.Group):
                groups.append((f"{path}/", child))
            elif isinstance(child, h5py.Dataset):
                _check_storage(path, child)
                found[path] = child
    check_size(sum(map(_count_bytes, found.values())), "would unpack to")
    return found


def read_dataset(name: str, dataset: "h5py.Dataset") -> Tensor:
    """Read the values of one data set."""
    check_numeric(name, dataset.dtype)
    return to_tensor(name, dataset[()])


def read_attribute(group: "h5py.Group", name: str) -> str | None:
    """Read the string attribute `name`, None if there is none."""
    import h5py

    if name not in group.attrs:
        return None
    attribute = group.attrs.get_id(name)
    # An array of strings may repeat one long string without bound.
    if attribute.shape != () or h5py.check_string_dtype(attribute.dtype) is None:
        raise UnreadableFile(f"has an attribute {name!r} that is not one string, {SAVE_AGAIN}")
    text = group.attrs[name]
    return text.decode() if isinstance(text, bytes) else text


def _find_address(child: "h5py.Group | h5py.Dataset") -> int:
    import h5py

    return h5py.h5o.get_info(child.id).addr


def _count_bytes(dataset: "h5py.Dataset") -> int:
    return (dataset.size or 0) * dataset.dtype.itemsize


def _check_storage(path: str, dataset: "h5py.Dataset") -> None:
    """Raise UnreadableFile if the values are in another file, compressed or missing."""
    creation = dataset.id.get_create_plist()
    if dataset.is_virtual or creation.get_external_count():
        raise UnreadableFile(f"takes {path!r} from another file, {SAVE_AGAIN}")
    if creation.get_nfilters():
        raise UnreadableFile(f"has {path!r} compressed, {SAVE_AGAIN}")
    check_size(_count_bytes(dataset), "would unpack to")
    if dataset.shape is None or dataset.id.get_storage_size() < _count_bytes(dataset):
        raise UnreadableFile(f"has no values for {path!r}: it was cut short when it was written")
