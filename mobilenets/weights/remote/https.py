"""Weights of an https URL: a file in torch.hub's cache."""

import hashlib
import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote

import torch

from mobilenets.download import download
from mobilenets.weights.files.limits import MAX_BYTES


def cached_file(name: str, url: str, file: str, sha256: str) -> Path:
    """`file` in torch.hub's cache, from `url` if it isn't there; `sha256`: its first digits."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.is_file():
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if not found.startswith(sha256):
            raise ValueError(
                f"{path} is damaged or another file (its sha256 is {found}, not {sha256}): delete "
                "it, then it is fetched again"
            )
        return path
    try:
        if offline():
            raise URLError("HF_HUB_OFFLINE is set")
        download(url, path, sha256, MAX_BYTES)
    except (OSError, HTTPException, UnicodeError) as error:
        raise ValueError(
            f"{name} could not be fetched ({reason(error)}): put {file_name(url)} from "
            f"{url} at {path}"
        ) from error
    return path


def file_name(url: str) -> str:
    """The last part of a URL's path, in characters that are safe on every disk."""
    last = re.split(r"[/\\]", unquote(url.partition("?")[0]))[-1]
    return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:].strip(".") or "weights"


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set to a word that huggingface_hub takes for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def reason(error: Exception) -> str:
    """The first sentence of an error, for the middle of one of ours."""
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0].rstrip(".:")
