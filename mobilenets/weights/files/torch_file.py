"""Files of `torch.save`: zip archives, and the pickles that it wrote before PyTorch 1.6."""

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
    """The state dict of a checkpoint; `content` is the whole of it."""
    content = load_plain(path)
    state_dict, passed = find_state_dict(content)
    tensors, ignored = unwrap(state_dict)
    return RawWeights("PyTorch", tensors, content, passed + ignored)


def load_plain(path: Path) -> dict[str, Any]:
    """The dict that was saved, on the CPU; plain data and tensors only.

    Raises:
        ValueError: it would have to execute code, is damaged, or is no dict.
    """
    if is_zipfile(path):
        with open_zip(path) as archive:
            if damaged := archive.testzip():  # torch.load does not look at the checksums
                raise UnreadableFile(
                    f"is damaged, as the checksum of its {damaged} says: get it again"
                )
    try:
        with (
            path.open("rb") as file,  # for torch.load goes by the name where it is given one
            warnings.catch_warnings(action="ignore"),  # torch's advice on odd pickles
            # The parsed command line, which training scripts store, is plain data.
            torch.serialization.safe_globals([argparse.Namespace]),
        ):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that reads garbage may raise anything
        if "GLOBAL" in str(error):  # a well-formed pickle that wants to import something
            raise UnreadableFile(
                "holds more than tensors and plain data, so it was not opened: "
                "save its state_dict alone and use that"
            ) from None  # torch's own words advise to have it executed
        raise UnreadableFile(DAMAGED) from None
    if not isinstance(content, dict):
        raise UnreadableFile(f"holds a {type(content).__name__}, not a dict of weights")
    return content
