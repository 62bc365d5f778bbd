"""Nets on the Hugging Face Hub: `push_to_hub` there; `load_model("hf:OWNER/REPO")` back."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mobilenets.models import MobileNet, create_model
from mobilenets.weights.load import load_model
from mobilenets.weights.remote.https import reason
from mobilenets.weights.remote.hub import check_repo_id, import_hub
from mobilenets.weights.save import save_model


def push_to_hub(
    model: MobileNet | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload weights, config and model card",
    card: str | None = None,
) -> str:
    """Uploads a net to the Hub, in one commit; the repository is made where there is none.

    Args:
        model: a net of this project, or what `load_model` takes.
        repo_id: OWNER/REPO.
        private: of a new repository: whether only its owner sees it.
        token: a write token of the Hub; None = that of `hf auth login` or HF_TOKEN.
        commit_message: of the commit.
        card: the text of README.md; None = one written from what the net knows of itself, without
            a licence, which is yours to choose.

    Returns:
        The URL of the repository.

    Raises:
        ValueError: huggingface_hub is not installed, `repo_id` is none, or the Hub refused.
    """
    hub = import_hub("push_to_hub")
    check_repo_id(repo_id)
    if isinstance(model, str | Path):
        model = load_model(model)
    with TemporaryDirectory() as folder:
        write_folder(model, Path(folder), card or write_card(model, repo_id))
        files = [
            hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path)
            for path in sorted(Path(folder).iterdir())
        ]
        api = hub.HfApi(token=token)
        try:
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            api.create_commit(repo_id, operations=files, commit_message=commit_message)
        except Exception as error:  # the HTTP client's own, which differs between hub's versions
            raise ValueError(
                f"{repo_id} could not be pushed ({reason(error)}): check the network, the name and "
                "the write token (`hf auth login`)"
            ) from error
    return str(url)


def write_folder(net: MobileNet, folder: Path, card: str) -> None:
    """Writes model.safetensors, config.json and README.md."""
    save_model(net, folder / "model.safetensors")
    config = {
        "library_name": "mobilenets",
        "model": {"name": net.name, "options": net.options},
        "class_names": net.class_names,
        "preprocessing": net.preprocessing,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(card, "utf-8")


def write_card(net: MobileNet, repo_id: str) -> str:
    """The README.md of a repository: what the net is, how to load it, its figures."""
    with torch.device("meta"):
        plain = create_model(net.name).options
    chosen = [f"`{key}={value!r}`" for key, value in net.options.items() if value != plain[key]]
    rows = [f"| {key} | {_figure(value)} |" for key, value in net.metrics.items()]
    table = ["## Metrics", "", "| metric | value |", "|---|--:|", *rows, ""] if rows else []
    return "\n".join(
        [
            "---",
            "library_name: mobilenets",
            "pipeline_tag: image-classification",
            "tags:",
            "- mobilenets",
            f"- {net.name}",
            "- image-classification",
            "---",
            "",
            f"# {repo_id.partition('/')[2]}",
            "",
            f"A `{net.name}` of the package `mobilenets`: {', '.join(chosen) or 'all defaults'}.",
            "",
            "```python",
            "import mobilenets",
            "",
            f'net = mobilenets.load_model("hf:{repo_id}")',
            "```",
            "",
            "The net comes with `class_names` and `preprocessing`, where they are known.",
            "",
            *table,
        ]
    )


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
