"""HDF5 files, read within bounds and without following anything out of the file."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from mobilenets.weights.files.arrays import check_numbers, to_tensor
from mobilenets.weights.files.limits import UnreadableFile, check_count, check_size

if TYPE_CHECKING:
    import h5py

SAVE_AGAIN = "which Keras does not write: save the weights with Keras again"

# A heap of texts: mark and version, its size, then objects, each with number and size; number 0
# is free space, whose size includes these 16 bytes.
HEAP = b"GCOL\x01\0\0\0"
HEAP_SIZE, HEAP_OBJECT = struct.Struct("<8xQ"), struct.Struct("<H6xQ")


@contextmanager
def open_hdf5(content: bytes) -> "Iterator[h5py.File]":
    """The file with these bytes, once it is known that the library can open it.

    Of a heap with a damaged object the library would read the same place for ever.
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
    place = start + HEAP_SIZE.size
    while place + HEAP_OBJECT.size <= end:
        number, size = HEAP_OBJECT.unpack_from(content, place)
        whole = HEAP_OBJECT.size + -(-size // 8) * 8 if number else size
        if whole < HEAP_OBJECT.size or place + whole > end:
            raise UnreadableFile(
                "is a damaged HDF5 file (a heap of texts does not add up): get it again"
            )
        place += whole


def list_datasets(root: "h5py.Group") -> "dict[str, h5py.Dataset]":
    """Path -> data set, for all of the file, none of them read.

    Raises:
        ValueError: there is too much, or something that is not wholly and once in the file.
    """
    import h5py

    found: dict[str, h5py.Dataset] = {}
    seen = {_address(root)}  # hard links can form circles
    waiting = [("", root)]
    for prefix, group in waiting:
        check_count(len(seen) + len(group), "HDF5 objects")
        for key in group.id:
            path = f"{prefix}{key.decode()}"
            if group.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                raise UnreadableFile(f"has a link to somewhere else at {path!r}, {SAVE_AGAIN}")
            child = group[key]
            if _address(child) in seen:
                raise UnreadableFile(f"has the same object twice, once at {path!r}, {SAVE_AGAIN}")
            seen.add(_address(child))
            if isinstance(child, h5py.Group):
                waiting.append((f"{path}/", child))
            elif isinstance(child, h5py.Dataset):
                _check_storage(path, child)
                found[path] = child
    check_size(sum(map(_size, found.values())), "would unpack to")
    return found


def read_dataset(name: str, dataset: "h5py.Dataset") -> Tensor:
    """The values of one data set."""
    check_numbers(name, dataset.dtype)
    return to_tensor(name, dataset[()])


def read_text(holder: "h5py.Group", name: str) -> str | None:
    """The attribute called `name`, None where there is none."""
    import h5py

    if name not in holder.attrs:
        return None
    attribute = holder.attrs.get_id(name)
    # A list of texts may name one long text again and again.
    if attribute.shape != () or h5py.check_string_dtype(attribute.dtype) is None:
        raise UnreadableFile(f"has an attribute {name!r} that is not one text, {SAVE_AGAIN}")
    text = holder.attrs[name]
    return text.decode() if isinstance(text, bytes) else text


def _address(thing: "h5py.Group | h5py.Dataset") -> int:
    import h5py

    return h5py.h5o.get_info(thing.id).addr


def _size(dataset: "h5py.Dataset") -> int:
    return (dataset.size or 0) * dataset.dtype.itemsize


def _check_storage(path: str, dataset: "h5py.Dataset") -> None:
    """Refuses a data set whose values are elsewhere, may unpack to anything, or are missing."""
    how = dataset.id.get_create_plist()
    if dataset.is_virtual or how.get_external_count():
        raise UnreadableFile(f"takes {path!r} from another file, {SAVE_AGAIN}")
    if how.get_nfilters():
        raise UnreadableFile(f"has {path!r} compressed, {SAVE_AGAIN}")
    check_size(_size(dataset), "would unpack to")
    if dataset.shape is None or dataset.id.get_storage_size() < _size(dataset):
        raise UnreadableFile(f"has no values for {path!r}: it was cut short when it was written")
