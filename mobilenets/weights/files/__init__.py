"""Reading a weights file of any common container, recognised by its content, never by its name.

Nothing in a file is executed, and what it unpacks to is bounded. Which net it is, and what the
axes mean, is decided elsewhere.
"""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

from mobilenets.weights.files.foreign import READ, TF_CHECKPOINT, describe
from mobilenets.weights.files.keras_file import read_keras_hdf5, read_keras_zip
from mobilenets.weights.files.limits import UnreadableFile, check_size
from mobilenets.weights.files.npz_file import read_npz
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.safetensors_file import read_safetensors
from mobilenets.weights.files.tfjs_file import read_tfjs
from mobilenets.weights.files.torch_file import DAMAGED, read_torch
from mobilenets.weights.files.zips import open_zip

__all__ = ["Stored", "read_file"]

Reader = Callable[[Path], RawWeights]

# In a folder: TensorFlow.js keeps its weights beside this, Hugging Face calls them so.
IN_FOLDERS = ("model.json", "model.safetensors", "pytorch_model.bin")

HEAD_BYTES = 1024
ZIP = b"PK\x03\x04"
# (position, the bytes there, what reads the file)
READERS: tuple[tuple[int, bytes, Reader], ...] = (
    # The end of the header's length, and the header; first, as a length may begin as others do.
    (7, b"\0{", read_safetensors),
    (0, b"\x80", read_torch),  # a pickle
    (0, b"\x89HDF\r\n\x1a\n", read_keras_hdf5),
    (0, b"{", read_tfjs),
)
# (the members that tell, whether all are such, what reads the archive)
ZIP_READERS: tuple[tuple[str, bool, Reader], ...] = (
    (r"[^/]+/data\.pkl", False, read_torch),
    (r"model\.weights\.h5", False, read_keras_zip),
    (r".+\.npy", True, read_npz),
)
TORCHSCRIPT = re.compile(r"[^/]+/constants\.pkl")

# What the readers' libraries raise when they are given garbage.
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, BadZipFile, zlib.error),
)


def read_file(path: Path) -> RawWeights:
    """The weights in a file, or in a folder of TensorFlow.js or Hugging Face.

    Raises:
        ValueError: one sentence that begins with the path and says why it is not read.
    """
    path = _find(path)
    try:
        check_size(path.stat().st_size, "is")
        stored = _reader(path)(path)
        stored.check()
    except UnreadableFile as error:
        raise ValueError(f"{path} {error}") from error.__cause__
    except ModuleNotFoundError as error:
        raise ValueError(
            f"reading {path} needs {error.name}: pip install 'mobilenets[keras]'"
        ) from None
    except DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"{path} can't be read ({reason}): get it again if it is damaged or was cut short"
        ) from error
    return stored


def _find(path: Path) -> Path:
    """The file itself, or the one in a folder."""
    if path.is_dir():
        for name in IN_FOLDERS:
            if (path / name).is_file():
                return path / name
        raise ValueError(f"{path} holds no {', '.join(IN_FOLDERS)}: give the file with the weights")
    if path.is_file():
        return path
    if Path(f"{path}.index").is_file():
        raise ValueError(f"{path} {TF_CHECKPOINT}")
    raise ValueError(f"{path} is no file: give one that exists")


def _reader(path: Path) -> Reader:
    """What reads the file, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(ZIP):
        if b"/data.pkl" in head and not is_zipfile(path):  # torch.save's, and cut short
            raise UnreadableFile(DAMAGED)
        return _zip_reader(path)
    for position, magic, reader in READERS:
        if head.startswith(magic, position):
            return reader
    raise UnreadableFile(describe(path, head))


def _zip_reader(path: Path) -> Reader:
    """What reads the archive, by its members."""
    with open_zip(path) as archive:
        members = archive.namelist()
    if any(map(TORCHSCRIPT.fullmatch, members)):
        raise UnreadableFile(
            "is a TorchScript program, which is not opened: save its state_dict alone "
            "(torch.save(torch.jit.load(PATH).state_dict(), NEW_PATH)) and use that"
        )
    for pattern, every, reader in ZIP_READERS:
        if (all if every else any)(re.fullmatch(pattern, member) for member in members):
            return reader
    raise UnreadableFile(
        f"is a zip archive of something else: if weights are in it, unpack it; {READ}"
    )
