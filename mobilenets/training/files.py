"""Checkpoint files that are complete or not there."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from mobilenets.run_folder import LAST, PARTIAL, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and puts it there when it is on the disk.

    Whenever the process is killed, and when the disk is full, the file that was there before is
    still there. That of `LAST` is kept as `PREVIOUS` after that, too.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: Any,
        storage_options: Any | None = None,
    ) -> None:
        """Writes the file.

        Raises:
            OSError: it can't be written; what was there before is.
        """
        path = Path(path)
        partial = path.with_name(f".{path.name}{PARTIAL}")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            # In the same folder, as a file can't be renamed across file systems.
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            text = f"{error.strerror}; the checkpoint before it is still there"
            raise OSError(error.errno, text, str(path)) from error
        if path.name == LAST and path.exists():
            keep(path, path.with_name(PREVIOUS))
        partial.replace(path)
        sync_folder(path.parent)


def keep(path: Path, name: Path) -> None:
    """Gives a file a second name, or where the file system has no such thing, only that one."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        path.rename(name)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on the disk; Windows can't be asked to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
