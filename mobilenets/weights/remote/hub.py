"""A model repository of the Hugging Face Hub, file by file through the Hub's cache."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenets.download import TIMEOUT, too_large
from mobilenets.weights.files.limits import MAX_BYTES
from mobilenets.weights.remote.https import offline, reason

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a Hub repository, the better first
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """A model repository of the Hub at one revision: a branch, tag or commit.

    Its files come one by one, where `snapshot_download` would not say whether a cached snapshot is
    whole; and with a look at the size first, which also fails at once without a network.
    """

    name: str  # as the user wrote it
    id: str
    revision: str

    def fetch_weights(self) -> Path:
        """The weights that are cached, or else the better of the two that the Hub has."""
        for file in WEIGHT_FILES:
            if path := self.cached(file):
                return path
        for file in WEIGHT_FILES:
            if path := self.fetch(file):
                return path
        raise ValueError(f"{self.name}: {self.id} has no {' or '.join(WEIGHT_FILES)}")

    def has_weights(self) -> bool:
        """Whether weights are in the cache."""
        return any(self.cached(file) for file in WEIGHT_FILES)

    def cached(self, file: str) -> Path | None:
        """The file in the cache."""
        hub = import_hub(self.name)
        found = hub.try_to_load_from_cache(self.id, file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None  # an object: known to be missing

    def fetch(self, file: str, *, needed: bool = True) -> Path | None:
        """The file, or None where the repository has no such file.

        Raises:
            ValueError: it is not in the cache and can't be had, unless it isn't `needed`.
        """
        if path := self.cached(file):
            return path
        try:
            return self._download(file)
        except ValueError:
            if needed:
                raise
            return None

    def _download(self, file: str) -> Path | None:
        hub = import_hub(self.name)
        if offline():
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
        except Exception as error:  # the HTTP client's own, which differs between hub's versions
            raise self._unreachable(reason(error)) from error
        raise too_large(url, MAX_BYTES)

    def _unreachable(self, why: str) -> ValueError:
        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        folder = f"models--{self.id.replace('/', '--')}"
        cache = Path(import_hub(self.name).constants.HF_HUB_CACHE)
        return ValueError(
            f"{self.name} could not be fetched ({why}): run `hf download {self.id}{revision}` "
            f"where there is a network and copy the folder {folder} of its cache to "
            f"{cache / folder}, or give the path of the downloaded folder in place of the name"
        )


def import_hub(purpose: str) -> Any:
    """The package huggingface_hub; a ValueError that says how to install it where it is missing."""
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(
            f"{purpose} needs huggingface_hub: pip install 'mobilenets[hub]'"
        ) from error
    return huggingface_hub


def check_repo_id(repo_id: str) -> None:
    """ValueError where `repo_id` doesn't read OWNER/REPO."""
    if not REPO_ID.fullmatch(repo_id) or ".." in repo_id:
        raise ValueError(f"{repo_id!r} is no repository of the Hub: it should read OWNER/REPO")
