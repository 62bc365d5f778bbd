"""A file at an https URL, in torch.hub's cache."""

import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote

import torch

from mobilenets.cache import file_sha256
from mobilenets.download import download
from mobilenets.weights.files.limits import MAX_BYTES


def fetch_file(name: str, url: str, file: str, sha256: str) -> Path:
    """Return the path of `file` in torch.hub's cache, after fetching it unless it is there.

    Args:
        name: what the user asked for, for messages.
        url: where to fetch the file.
        file: its name in the cache.
        sha256: its checksum, or the first digits of it.

    Raises:
        ValueError: the cached file is damaged, or it can't be fetched; says where to put it.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.is_file():
        if not (found := file_sha256(path)).startswith(sha256):
            raise ValueError(
                f"{path} is damaged or another file (its sha256 is {found}, not {sha256}): delete "
                "it, then it is fetched again"
            )
        return path
    try:
        if is_offline():
            raise URLError("HF_HUB_OFFLINE is set")
        download(url, path, sha256, MAX_BYTES)
    except (OSError, HTTPException, UnicodeError) as error:
        raise ValueError(
            f"{name} could not be fetched ({first_sentence(error)}): put {safe_file_name(url)} "
            f"from {url} at {path}"
        ) from error
    return path


def safe_file_name(url: str) -> str:
    """Return the last part of a URL's path, in characters that are safe on every disk."""
    last = re.split(r"[/\\]", unquote(url.partition("?")[0]))[-1]
    return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:].strip(".") or "weights"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set, to a value that huggingface_hub takes for true."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's message, for the middle of one of ours."""
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0].rstrip(".:")
