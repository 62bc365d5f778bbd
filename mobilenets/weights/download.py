"""An https URL -> a file in torch.hub's cache, streamed, bounded and checked."""

import hashlib
import os
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote
from urllib.request import HTTPRedirectHandler, Request, build_opener
from uuid import uuid4

import torch

from mobilenets import __version__
from mobilenets.weights.files.limits import MAX_BYTES

TIMEOUT = 20.0  # seconds without an answer
CHUNK = 1 << 20


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
        download(url, path, sha256)
    except (OSError, HTTPException, UnicodeError) as error:
        raise ValueError(
            f"{name} could not be fetched ({reason(error)}): put {file_name(url)} from "
            f"{url} at {path}"
        ) from error
    return path


def download(url: str, path: Path, sha256: str, limit: int = MAX_BYTES) -> None:
    """Streams `url` into a .part file beside `path`, which becomes `path` if it is whole.

    Raises:
        ValueError: more than `limit` bytes, or another sha256; nothing is left behind.
        OSError, HTTPException: the network or the disk.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # other processes may fetch it too
    digest, count = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": f"mobilenets/{__version__}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with build_opener(_HttpsRedirects).open(request, timeout=TIMEOUT) as response:
            if (response.length or 0) > limit:
                raise too_large(url, limit)
            with part.open("xb") as file:
                while chunk := response.read(CHUNK):
                    count += len(chunk)
                    if count > limit:
                        raise too_large(url, limit)
                    digest.update(chunk)
                    file.write(chunk)
        if not digest.hexdigest().startswith(sha256):
            raise ValueError(
                f"{url} gave a file whose sha256 is {digest.hexdigest()}, not {sha256}: it was "
                "changed or cut short, or the digits are of another file"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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


def too_large(url: str, limit: int) -> ValueError:
    """The error of a file that has more than `limit` bytes."""
    return ValueError(
        f"{url} is larger than {limit:,} bytes and was not fetched: no MobileNet is; check the URL"
    )


class _HttpsRedirects(HTTPRedirectHandler):
    """Follows redirects, to https alone."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith("https://"):
            fp.close()
            raise URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
