"""Files of NumPy (.npz): zip archives of arrays, such as a TensorFlow checkpoint's variables."""

import io
import math
from pathlib import Path

from torch import Tensor

from mobilenets.weights.files.arrays import to_tensor
from mobilenets.weights.files.limits import UnreadableFile
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.zips import open_zip

SUFFIX = ".npy"


def read_npz(path: Path) -> RawWeights:
    """Read all arrays of the archive, each with its own type."""
    with open_zip(path) as archive:
        tensors = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(SUFFIX)
            tensors[name] = _read_array(name, archive.read(member))
    return RawWeights("NumPy", tensors, {}, [])


def _read_array(name: str, content: bytes) -> Tensor:
    """Read one .npy file, after a check that its size is what its header says."""
    import numpy as np
    from numpy.lib import format as npy

    file = io.BytesIO(content)
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = read_header(file)
    if dtype.hasobject:
        raise UnreadableFile(
            f"holds Python objects in {name!r}, which were not opened: save arrays of numbers"
        )
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise UnreadableFile(
            f"claims {shape} values of {dtype} for {name!r} and holds "
            f"{len(content) - file.tell():,} bytes: it is damaged, so write it again"
        )
    values = np.frombuffer(content, dtype, offset=file.tell())
    return to_tensor(name, values.reshape(shape, order="F" if columns_first else "C"))
