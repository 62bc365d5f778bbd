"""Checkpoint files that are complete or not there."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from mobilenets.atomic import atomic_path, sync
from mobilenets.run_folder import LAST, PREVIOUS


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
        """Write the file.

        Raises:
            OSError: it can't be written; the file that was there before still is.
        """
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with atomic_path(path) as partial:
                partial.write_bytes(content.getbuffer())
                sync(partial)  # the new file is on the disk before the old one loses its name
                if path.name == LAST and path.exists():
                    keep(path, path.with_name(PREVIOUS))
        except OSError as error:
            text = f"{error.strerror}; the checkpoint before it is still there"
            raise OSError(error.errno, text, str(path)) from error


def keep(path: Path, name: Path) -> None:
    """Gives a file a second name, or where the file system has no such thing, only that one."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        path.rename(name)
