"""Push a net to the Hugging Face Hub, from where `load_model("hf:OWNER/REPO")` loads it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mobilenets.console import format_table
from mobilenets.models import MobileNet, create_model
from mobilenets.weights.load import load_model
from mobilenets.weights.remote.https import first_sentence
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
    """Upload a net to the Hub in one commit; create the repository if there is none.

    Args:
        model: a net of this project, or what `load_model` takes.
        repo_id: OWNER/REPO.
        private: make a new repository private.
        token: a write token of the Hub; None = the token of `hf auth login` or HF_TOKEN.
        commit_message: the message of the commit.
        card: the text of README.md; None = one with options, usage and metrics of the net, but no
            licence, which is yours to choose.

    Returns:
        The URL of the repository.

    Raises:
        ValueError: huggingface_hub is not installed, `repo_id` is invalid, or the upload failed.
    """
    hub = import_hub("push_to_hub")
    check_repo_id(repo_id)
    if isinstance(model, str | Path):
        model = load_model(model)
    with TemporaryDirectory() as folder:
        write_folder(model, Path(folder), card or make_card(model, repo_id))
        files = [
            hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path)
            for path in sorted(Path(folder).iterdir())
        ]
        api = hub.HfApi(token=token)
        try:
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            api.create_commit(repo_id, operations=files, commit_message=commit_message)
        except Exception as error:  # of the HTTP client, which depends on the version of the hub
            raise ValueError(
                f"{repo_id} could not be pushed ({first_sentence(error)}): check the network, the "
                "name and the write token (`hf auth login`)"
            ) from error
    return str(url)


def write_folder(net: MobileNet, folder: Path, card: str) -> None:
    """Write model.safetensors, config.json and README.md."""
    save_model(net, folder / "model.safetensors")
    config = {
        "library_name": "mobilenets",
        "model": {"name": net.name, "options": net.options},
        "class_names": net.class_names,
        "preprocessing": net.preprocessing,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(card, "utf-8")


def make_card(net: MobileNet, repo_id: str) -> str:
    """Make the README.md of a repository: what the net is, how to load it, its metrics."""
    with torch.device("meta"):
        defaults = create_model(net.name).options
    chosen = [f"`{key}={value!r}`" for key, value in net.options.items() if value != defaults[key]]
    rows = [
        (name, f"{value:.6g}" if isinstance(value, float) else value)
        for name, value in net.metrics.items()
    ]
    metrics = ["## Metrics", "", format_table(("metric", "value"), rows, "markdown"), ""]
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
            "The net has `class_names` and `preprocessing`, if they are known.",
            "",
            *(metrics if rows else []),
        ]
    )
