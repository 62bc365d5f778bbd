"""A model repository on the Hugging Face Hub, file by file through the Hub's cache."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.download import TIMEOUT, too_large_error
from mobilenets.imports import install_hint
from mobilenets.weights.files import HUB_FILES
from mobilenets.weights.files.limits import MAX_BYTES
from mobilenets.weights.remote.https import first_sentence, is_offline

REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A model repository at one revision.

    Files are fetched one by one: `snapshot_download` would not tell whether a cached snapshot is
    complete. Their size is checked first, which also fails at once without a network.

    Attributes:
        name: as the user wrote it, for messages.
        id: OWNER/REPO.
        revision: a branch, tag or commit.
    """

    name: str
    id: str
    revision: str

    def fetch_weights(self) -> Path:
        """Return the path of cached weights, or else of the better ones that the Hub has."""
        for file in HUB_FILES:
            if path := self.find_cached(file):
                return path
        for file in HUB_FILES:
            if path := self.fetch(file):
                return path
        raise ValueError(f"{self.name}: {self.id} has no {' or '.join(HUB_FILES)}")

    def has_cached_weights(self) -> bool:
        """Whether the cache has weights."""
        return any(self.find_cached(file) for file in HUB_FILES)

    def find_cached(self, file: str) -> Path | None:
        """Return the path of a file in the cache, None if it is not there."""
        hub = import_hub(self.name)
        found = hub.try_to_load_from_cache(self.id, file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None  # an object: known to be missing

    def fetch(self, file: str, *, required: bool = True) -> Path | None:
        """Return the path of a file in the cache, after fetching it unless it is there.

        Returns:
            None if the repository has no such file, or it can't be fetched and isn't `required`.

        Raises:
            ValueError: a `required` file can't be fetched; says what to put where.
        """
        if path := self.find_cached(file):
            return path
        try:
            return self._fetch_uncached(file)
        except ValueError:
            if required:
                raise
            return None

    def _fetch_uncached(self, file: str) -> Path | None:
        hub = import_hub(self.name)
        if is_offline():
            raise self._unreachable("HF_HUB_OFFLINE is set")
        try:
            url = hub.hf_hub_url(self.id, file, revision=self.revision)
            size = hub.get_hf_file_metadata(url, timeout=TIMEOUT).size or 0
            if size <= MAX_BYTES:
                return Path(hub.hf_hub_download(self.id, file, revision=self.revision))
        except hub.errors.RevisionNotFoundError as error:
            raise ValueError(f"{self.name}: {self.id} has no revision {self.revision}") from error
        except hub.errors.RepositoryNotFoundError as error:
            raise ValueError(
                f"{self.name}: the Hub shows no repository {self.id}: check the name; a private or "
                "gated one needs `hf auth login`"
            ) from error
        except hub.errors.LocalEntryNotFoundError as error:
            raise self._unreachable("no connection to the Hub") from error
        except hub.errors.EntryNotFoundError:
            return None
        except Exception as error:  # of the HTTP client, which depends on the version of the hub
            raise self._unreachable(first_sentence(error)) from error
        raise too_large_error(url, MAX_BYTES)

    def _unreachable(self, reason: str) -> ValueError:
        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        folder = f"models--{self.id.replace('/', '--')}"
        cache = Path(import_hub(self.name).constants.HF_HUB_CACHE)
        return ValueError(
            f"{self.name} could not be fetched ({reason}): run `hf download {self.id}{revision}` "
            f"where there is a network and copy the folder {folder} of its cache to "
            f"{cache / folder}, or give the path of the downloaded folder instead of the name"
        )


def import_hub(purpose: str) -> Any:
    """Import huggingface_hub, or raise ValueError that says how to install it."""
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"{purpose} needs huggingface_hub: {install_hint('hub')}") from error
    return huggingface_hub


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError unless `repo_id` reads OWNER/REPO."""
    if not REPO_ID.fullmatch(repo_id) or ".." in repo_id:
        raise ValueError(f"{repo_id!r} is not a repository of the Hub: write OWNER/REPO")
