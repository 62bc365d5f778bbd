"""Empty caches, and a fake Hugging Face Hub, for the tests of weights by name."""

import hashlib
import json
import os
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.errors
import pytest

from mobilenets.download import TIMEOUT
from mobilenets.weights.remote import https

COMMIT = "a" * 40


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty caches, and no network: a test that uses it fails."""

    def unreachable(*args, **kwargs):
        raise AssertionError(f"the network was used: {args}")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(https, "download", unreachable)
    return tmp_path


@pytest.fixture
def checkpoints(caches):
    """The folder of torch.hub's checkpoints, empty."""
    folder = caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def snapshot(caches):
    """snapshot(repo_id, files, commit) -> the folder of these files in the Hub's cache.

    The layout is huggingface_hub's; the branch main is at `commit`.
    """

    def make(repo_id, files, commit=COMMIT):
        repository = caches / "hf" / "hub" / f"models--{repo_id.replace('/', '--')}"
        folder = repository / "snapshots" / commit
        for part in (folder, repository / "refs", repository / "blobs"):
            part.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        for name, content in files.items():
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            blob = repository / "blobs" / hashlib.sha256(data).hexdigest()
            blob.write_bytes(data)
            (folder / name).symlink_to(os.path.relpath(blob, folder))
        return folder

    return make


class Hub:
    """A fake Hub: {repository: {file: content}} at one commit; it records the requests."""

    def __init__(self, snapshot, repositories, commit=COMMIT, sizes=None):
        self.snapshot, self.repositories, self.commit = snapshot, repositories, commit
        self.sizes = sizes or {}
        self.asked = []

    def install(self, monkeypatch):
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", self.get_hf_file_metadata)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.hf_hub_download)
        return self

    def get_hf_file_metadata(self, url, timeout):
        assert timeout == TIMEOUT
        owner, name, _, revision, file = url.removeprefix("https://huggingface.co/").split("/")
        self.asked.append((file, revision))
        response = SimpleNamespace(headers={}, request=None)
        if f"{owner}/{name}" not in self.repositories:
            raise huggingface_hub.errors.RepositoryNotFoundError("404", response=response)
        if revision not in ("main", self.commit):
            raise huggingface_hub.errors.RevisionNotFoundError("404", response=response)
        if file not in self.repositories[f"{owner}/{name}"]:
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return SimpleNamespace(size=self.sizes.get(file, 10))

    def hf_hub_download(self, repo_id, filename, *, revision):
        content = self.repositories[repo_id][filename]
        return str(self.snapshot(repo_id, {filename: content}, self.commit) / filename)


@pytest.fixture
def hub(snapshot, monkeypatch):
    """hub({repository: {file: content}}) -> the `Hub` that answers all requests from then on."""

    def make(*args, **kwargs):
        return Hub(snapshot, *args, **kwargs).install(monkeypatch)

    return make
