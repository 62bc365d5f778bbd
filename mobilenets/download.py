"""An https URL -> a file: streamed, bounded, checked, and there as a whole or not at all."""

import hashlib
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mobilenets import __version__
from mobilenets.atomic import atomic_path

SCHEME = "https://"  # of every address, redirects included
TIMEOUT = 20.0  # seconds without an answer
PAUSES = (1.0, 4.0)  # seconds before the second attempt and the third
CHUNK = 1 << 20


def download(url: str, path: Path, sha256: str, limit: int) -> None:
    """Streams `url` into a .part file beside `path`, which becomes `path` if it is whole.

    Where the connection fails, it goes on from there, as often as there are `PAUSES`.

    Args:
        url: of the file; redirects are followed to https alone.
        path: of the new file.
        sha256: the digits that it has to have, or the first of them.
        limit: the most bytes that are taken.

    Raises:
        ValueError: another scheme than https, more than `limit` bytes, or another sha256; nothing
            is left behind.
        OSError, HTTPException: the network or the disk.
    """
    if not url.lower().startswith(SCHEME):
        raise ValueError(f"{url} was not fetched: files are fetched through https only")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        with partial.open("xb") as file:
            for pause in (*PAUSES, None):
                try:
                    _go_on(url, file, limit)
                    break
                except (OSError, HTTPException) as error:
                    if pause is None or not _may_pass(error):
                        raise
                    time.sleep(pause)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(sha256):
            raise ValueError(
                f"{url} gave a file whose sha256 is {digest}, not {sha256}: it was changed or cut "
                "short, or the digits are of another file"
            )


def too_large(url: str, limit: int) -> ValueError:
    """The error of a file that has more than `limit` bytes."""
    return ValueError(f"{url} is larger than {limit:,} bytes and was not fetched: check the URL")


def _go_on(url: str, file: BinaryIO, limit: int) -> None:
    """Appends what is missing of `url`, or writes all anew where the server sends no parts."""
    headers = {"User-Agent": f"mobilenets/{__version__}"}
    if done := file.tell():
        headers["Range"] = f"bytes={done}-"
    request = Request(url, headers=headers)
    with build_opener(_HttpsRedirects).open(request, timeout=TIMEOUT) as answer:
        if done and answer.status != 206:
            file.seek(0)
            file.truncate()
            done = 0
        expected = answer.length  # what is still to come, if the server says so
        if done + (expected or 0) > limit:
            raise too_large(url, limit)
        start = done
        for chunk in _chunks(answer):
            done += len(chunk)
            if done > limit:
                raise too_large(url, limit)
            file.write(chunk)
    if expected is not None and done - start < expected:
        raise ConnectionError(f"the connection ended after {done:,} bytes")


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed: not where the server or the disk has said no."""
    if isinstance(error, HTTPError):
        return error.code >= 500
    cause = error.reason if isinstance(error, URLError) else error
    return isinstance(cause, ConnectionError | TimeoutError | HTTPException)


class _HttpsRedirects(HTTPRedirectHandler):
    """Follows redirects, to https alone."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith(SCHEME):
            fp.close()
            raise URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
