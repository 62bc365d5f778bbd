"""Download a file by https: bounded, checked, and there as a whole or not at all."""

import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mobilenets import __version__
from mobilenets.atomic import atomic_path, new_folder
from mobilenets.cache import file_sha256

SCHEME = "https://"  # of every URL, redirects included
TIMEOUT = 20.0  # seconds without a response
PAUSES = (1.0, 4.0)  # seconds before the second attempt and the third
CHUNK = 1 << 20


def download(url: str, path: Path, sha256: str, limit: int) -> None:
    """Download `url` to a partial file beside `path`, which becomes `path` once it is checked.

    If the connection breaks off, resume the download, up to once for each of `PAUSES`.

    Args:
        url: of the file; redirects are followed to https only.
        path: of the new file.
        sha256: its checksum, or the first digits of it.
        limit: maximum size in bytes.

    Raises:
        ValueError: not https, more than `limit` bytes, or another sha256; no partial file is left.
        OSError, HTTPException: the network or the disk failed.
    """
    if not url.lower().startswith(SCHEME):
        raise ValueError(f"{url} was not fetched: files are fetched by https only")
    with new_folder(path.parent), atomic_path(path) as partial:
        with partial.open("xb") as file:
            for pause in (*PAUSES, None):
                try:
                    _download_rest(url, file, limit)
                    break
                except (OSError, HTTPException) as error:
                    if pause is None or not _may_succeed_later(error):
                        raise
                    time.sleep(pause)
        if not (digest := file_sha256(partial)).startswith(sha256):
            raise ValueError(
                f"{url} gave a file whose sha256 is {digest}, not {sha256}: it was changed or cut "
                "short, or the digits are of another file"
            )


def too_large_error(url: str, limit: int) -> ValueError:
    """Return the error for a file of more than `limit` bytes."""
    return ValueError(f"{url} is larger than {limit:,} bytes and was not fetched: check the URL")


def _download_rest(url: str, file: BinaryIO, limit: int) -> None:
    """Append the missing bytes, or start again if the server sends no ranges."""
    headers = {"User-Agent": f"mobilenets/{__version__}"}
    if done := file.tell():
        headers["Range"] = f"bytes={done}-"
    request = Request(url, headers=headers)
    with build_opener(_HttpsRedirects).open(request, timeout=TIMEOUT) as response:
        if done and response.status != 206:
            file.seek(0)
            file.truncate()
            done = 0
        expected = response.length  # bytes to come, None if the server does not say
        if done + (expected or 0) > limit:
            raise too_large_error(url, limit)
        start = done
        for chunk in _read_chunks(response):
            done += len(chunk)
            if done > limit:
                raise too_large_error(url, limit)
            file.write(chunk)
    if expected is not None and done - start < expected:
        raise ConnectionError(f"the connection ended after {done:,} bytes")


def _read_chunks(response: Any) -> Iterator[bytes]:
    while chunk := response.read(CHUNK):
        yield chunk


def _may_succeed_later(error: Exception) -> bool:
    """Whether another attempt may succeed: not after the server or the disk refused."""
    if isinstance(error, HTTPError):
        return error.code >= 500
    cause = error.reason if isinstance(error, URLError) else error
    return isinstance(cause, ConnectionError | TimeoutError | HTTPException)


class _HttpsRedirects(HTTPRedirectHandler):
    """A handler that follows redirects to https only."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith(SCHEME):
            fp.close()
            raise URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
