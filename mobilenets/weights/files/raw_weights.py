"""The content of a weights file, whatever its container."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mobilenets.weights.files.limits import UnreadableFile, check_size

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool),
)


@dataclass(frozen=True)
class RawWeights:
    """The tensors of a file under its own names, and what is stored with them.

    Attributes:
        format: "PyTorch", "safetensors", "Keras", "TensorFlow.js" or "NumPy".
        tensors: name in the file -> values on the CPU, axes as in the file.
        content: what is stored with them: PyTorch's whole dict, the metadata of safetensors, the
            model config of Keras and TensorFlow.js.
        ignored: names left out on purpose: an optimizer's, or raw weights beside their EMA.
    """

    format: str
    tensors: dict[str, Tensor]
    content: dict[str, Any]
    ignored: list[str]

    def check(self) -> None:
        """Raise UnreadableFile if there are no weights, or one is not dense, numeric and finite."""
        if not self.tensors:
            raise UnreadableFile("holds no weights: save the net's weights, and give that file")
        for name, tensor in self.tensors.items():
            plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
            if not plain or tensor.dtype not in FLOATS + INTEGERS:
                raise UnreadableFile(
                    f"holds {name!r} in a form that is not read (quantised, sparse or without "
                    "values): save the weights as ordinary floating-point tensors"
                )
        # Before the values are looked at: an expanded view may repeat one number without bound.
        check_size(
            sum(tensor.numel() * tensor.itemsize for tensor in self.tensors.values()),
            "would unpack to",
        )
        for name, tensor in self.tensors.items():
            if tensor.dtype in FLOATS and not tensor.isfinite().all():
                raise UnreadableFile(
                    f"holds NaN or infinity in {name!r}: the weights diverged or the file is "
                    "damaged, so give another one"
                )
