"""NumPy arrays as tensors."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mobilenets.weights.files.limits import UnreadableFile

if TYPE_CHECKING:
    import numpy as np


def check_numeric(name: str, dtype: "np.dtype") -> None:
    """Raise UnreadableFile for anything but real numbers: text, objects, complex, records."""
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise UnreadableFile(
            f"holds {name!r} as {dtype}, which is not read: save it as float32 numbers"
        )


def to_tensor(name: str, array: "np.ndarray") -> Tensor:
    """Copy an array into a tensor of the same type."""
    import numpy as np

    check_numeric(name, array.dtype)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
