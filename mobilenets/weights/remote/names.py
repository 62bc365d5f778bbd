"""Names of weights: of torchvision, of timm, of a repository on the Hugging Face Hub, or a URL.

    torchvision:IMAGENET1K_V2
    timm:mobilenetv1_100.ra4_e3600_r224_in1k
    hf:OWNER/REPO or hf:OWNER/REPO@REVISION
    https://HOST/FILE#sha256=HEX

The files are kept in the caches of torch.hub and the Hub, under TORCH_HOME and HF_HOME. A cached
file is used without a request; with HF_HUB_OFFLINE=1 there are no requests at all.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mobilenets.choices import find_nearest
from mobilenets.weights.remote.https import fetch_file, safe_file_name
from mobilenets.weights.remote.hub import Repository, check_repo_id
from mobilenets.weights.zoos.hub_configs import (
    TIMM_NETS,
    TRANSFORMERS_NETS,
    parse_timm_preprocessing,
    read_config,
    read_hub_configs,
)

REVISION = re.compile(r"[\w./-]+", re.ASCII)


@dataclass(frozen=True)
class RemoteWeights:
    """Weights on this machine, and what is published with them.

    Attributes:
        path: a file, or the folder of a Hub repository in the cache.
        preprocessing: image_size, mean, std, crop_pct and interpolation, as far as published.
        class_names: name of class i at position i, None if they are not published.
        options: options of `create_model` that the tensors don't show, such as bn_eps.
    """

    path: Path
    preprocessing: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)


def is_name(text: str) -> bool:
    """Whether `text` is a name for `fetch`, not a path."""
    return text.startswith(tuple(_SOURCES))


def fetch(name: str) -> RemoteWeights:
    """Return the weights `name`, after fetching them unless they are cached.

    Raises:
        ValueError: the name is unknown, or its file is damaged or can't be fetched; says which
            file to put where.
    """
    for prefix, source in _SOURCES.items():
        if name.startswith(prefix):
            return source(name)
    raise ValueError(
        f"{name!r} is not a name of weights: give torchvision:NAME, timm:NAME, hf:OWNER/REPO or "
        "https://HOST/FILE#sha256=HEX"
    )


def _fetch_torchvision(name: str) -> RemoteWeights:
    from torchvision.models import MobileNet_V2_Weights

    known = MobileNet_V2_Weights.__members__  # DEFAULT is one of them
    key = name.removeprefix("torchvision:")
    _check_known("torchvision:", key, known)
    weights = known[key]
    file = weights.url.rsplit("/", 1)[1]  # ends in the first digits of its sha256
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    transforms = weights.transforms()
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return RemoteWeights(
        path=fetch_file(name, weights.url, file, digits),
        preprocessing={
            "image_size": crop,
            "mean": list(transforms.mean),
            "std": list(transforms.std),
            "crop_pct": crop / resize,
            "interpolation": transforms.interpolation.value,
        },
        class_names=list(weights.meta["categories"]),
    )


def _fetch_timm(name: str) -> RemoteWeights:
    try:
        from timm import list_pretrained
        from timm.models import get_pretrained_cfg
    except ImportError as error:
        raise ValueError(f"{name} needs timm: pip install timm") from error

    known = list_pretrained([f"{net}*" for net in TIMM_NETS])
    key = name.removeprefix("timm:")
    if key not in {full.partition(".")[0] for full in known}:  # without a tag it is timm's default
        _check_known("timm:", key, known)
    cfg: Any = get_pretrained_cfg(key).to_dict()  # type: ignore[union-attr]
    repository = Repository(name, cfg["hf_hub_id"], "main")
    return RemoteWeights(repository.fetch_weights(), parse_timm_preprocessing(name, cfg))


def _fetch_hub(name: str) -> RemoteWeights:
    repo_id, _, revision = name.removeprefix("hf:").partition("@")
    check_repo_id(repo_id)
    if "@" in name and (not REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{name}: {revision!r} is not a branch, tag or commit")
    repository = Repository(name, repo_id, revision or "main")
    # Weights that another program cached may lack a config; without a network they do without.
    required = not repository.has_cached_weights()
    options: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    if config := repository.fetch("config.json", required=required):
        repository = replace(repository, revision=config.parent.name)  # one commit for all
        if read_config(config).get("model_type") in TRANSFORMERS_NETS:
            repository.fetch("preprocessor_config.json", required=required)
        options, preprocessing = read_hub_configs(config.parent)  # rejects other nets
    return RemoteWeights(repository.fetch_weights().parent, preprocessing, options=options)


def _fetch_https(name: str) -> RemoteWeights:
    url, _, sha256 = name.partition("#sha256=")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"{name}: add #sha256= and the 64 digits that `sha256sum FILE` prints, so that the "
            "file can be checked"
        )
    if not re.fullmatch('https://[!-"$-.0-~]+/[!-"$-~]*', url):  # printable ASCII without #
        raise ValueError(f"{url!r} is not the URL of a file: write https://HOST/FILE")
    sha256 = sha256.lower()
    return RemoteWeights(fetch_file(name, url, f"{sha256[:8]}-{safe_file_name(url)}", sha256))


def _refuse_http(name: str) -> RemoteWeights:
    raise ValueError(f"{name}: weights are fetched by https only; use https://")


_SOURCES: dict[str, Callable[[str], RemoteWeights]] = {
    "torchvision:": _fetch_torchvision,
    "timm:": _fetch_timm,
    "hf:": _fetch_hub,
    "https://": _fetch_https,
    "http://": _refuse_http,
}


def _check_known(prefix: str, key: str, known: Iterable[str]) -> None:
    """Raise ValueError naming the most similar name, and all of them, if `key` is unknown."""
    known = list(known)
    if key not in known:
        longer = [name for name in known if name.startswith(key)]  # `key` lacks a part of the tag
        nearest = [*longer, *find_nearest(key, known, cutoff=0)][0]
        raise ValueError(
            f"{prefix}{key} is unknown; did you mean {prefix}{nearest}? Choices: {', '.join(known)}"
        )
