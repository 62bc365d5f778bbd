"""Checkpoint files that are either complete or absent."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from mobilenets.atomic import atomic_path, sync
from mobilenets.run_folder import LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """A plugin that writes a checkpoint to a temporary file and renames it when it is on the disk.

    If the process is killed or the disk is full, the previous file stays in place. When `LAST` is
    replaced, its previous version is kept as `PREVIOUS`.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: Any,
        storage_options: Any | None = None,
    ) -> None:
        """Write the file.

        Raises:
            OSError: it can't be written; the previous file is still in place.
        """
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with atomic_path(path) as partial:
                partial.write_bytes(content.getbuffer())
                sync(partial)  # the new file must be on the disk before the old one loses its name
                if path.name == LAST and path.exists():
                    link_or_rename(path, path.with_name(PREVIOUS))
        except OSError as error:
            text = f"{error.strerror}; the previous checkpoint is still there"
            raise OSError(error.errno, text, str(path)) from error


def link_or_rename(path: Path, name: Path) -> None:
    """Give a file a second name, or only that one if the file system has no hard links."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        path.rename(name)
