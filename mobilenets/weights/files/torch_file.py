"""Files of `torch.save`: zip archives, or pickles from before PyTorch 1.6."""

import argparse
import warnings
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch

from mobilenets.weights.files.limits import UnreadableFile
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.state_dict import find_state_dict, unwrap
from mobilenets.weights.files.zips import open_zip

DAMAGED = "is not a checkpoint: torch.save did not write it, or it is damaged"


def read_torch(path: Path) -> RawWeights:
    """Read the state dict of a checkpoint; `content` is the whole checkpoint."""
    content = _read_plain_data(path)
    state_dict, passed = find_state_dict(content)
    tensors, ignored = unwrap(state_dict)
    return RawWeights("PyTorch", tensors, content, passed + ignored)


def _read_plain_data(path: Path) -> dict[str, Any]:
    """Read the saved dict, of plain data and tensors only, onto the CPU.

    Raises:
        UnreadableFile: reading it would execute code, it is damaged, or it is not a dict.
    """
    if is_zipfile(path):
        with open_zip(path) as archive:
            if damaged := archive.testzip():  # torch.load ignores the checksums
                raise UnreadableFile(
                    f"is damaged, as the checksum of its {damaged} says: get it again"
                )
    try:
        with (
            path.open("rb") as file,  # given a path, torch.load would go by the suffix
            warnings.catch_warnings(action="ignore"),  # torch's advice on odd pickles
            # Training scripts store their parsed command line, which is plain data.
            torch.serialization.safe_globals([argparse.Namespace]),
        ):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage makes an unpickler raise anything
        if "GLOBAL" in str(error):  # a valid pickle that imports something
            raise UnreadableFile(
                "holds more than tensors and plain data, so it was not opened: "
                "save its state_dict alone and use that"
            ) from None  # PyTorch's message advises executing it
        raise UnreadableFile(DAMAGED) from None
    if not isinstance(content, dict):
        raise UnreadableFile(f"holds a {type(content).__name__}, not a dict of weights")
    return content
