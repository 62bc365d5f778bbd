"""Weights by name: torchvision's, timm's, a repository of the Hugging Face Hub, an https URL.

    torchvision:IMAGENET1K_V2
    timm:mobilenetv1_100.ra4_e3600_r224_in1k
    hf:OWNER/REPO or hf:OWNER/REPO@REVISION
    https://HOST/FILE#sha256=HEX

They lie in the caches that other programs use too, under TORCH_HOME and HF_HOME. What is there is
used without asking the network; with HF_HUB_OFFLINE=1 the network is never asked.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mobilenets.choices import find_nearest
from mobilenets.weights.remote.https import cached_file, file_name
from mobilenets.weights.remote.hub import Repository, check_repo_id
from mobilenets.weights.zoos.hub_configs import (
    TIMM_NETS,
    TRANSFORMERS_NETS,
    describe_snapshot,
    read_config,
    timm_preprocessing,
)

REVISION = re.compile(r"[\w./-]+", re.ASCII)


@dataclass(frozen=True)
class RemoteWeights:
    """What a name stands for.

    Attributes:
        path: a local file, or the local folder of a Hub repository.
        preprocessing: what is published of image_size, mean, std, crop_pct and interpolation.
        class_names: name of class i at position i, where they are published with the weights.
        options: options of `create_model` that the tensors don't show, such as bn_eps.
    """

    path: Path
    preprocessing: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)


def is_name(text: str) -> bool:
    """Whether `text` is for `fetch`, not a path."""
    return text.startswith(tuple(_SOURCES))


def fetch(name: str) -> RemoteWeights:
    """The weights `name`, from the cache or else from the network.

    Raises:
        ValueError: the name is unknown, the file is not what it should be, or it can't be had: then
            the sentence says which file to put where.
    """
    for prefix, source in _SOURCES.items():
        if name.startswith(prefix):
            return source(name)
    raise ValueError(
        f"{name!r} is no name of weights: give torchvision:NAME, timm:NAME, hf:OWNER/REPO or "
        "https://HOST/FILE#sha256=HEX"
    )


def _from_torchvision(name: str) -> RemoteWeights:
    from torchvision.models import MobileNet_V2_Weights

    known = MobileNet_V2_Weights.__members__  # DEFAULT is one of them
    key = name.removeprefix("torchvision:")
    _check_known("torchvision:", key, known)
    weights = known[key]
    file = weights.url.rsplit("/", 1)[1]  # ends with the first digits of its sha256
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    transforms = weights.transforms()
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return RemoteWeights(
        path=cached_file(name, weights.url, file, digits),
        preprocessing={
            "image_size": crop,
            "mean": list(transforms.mean),
            "std": list(transforms.std),
            "crop_pct": crop / resize,
            "interpolation": transforms.interpolation.value,
        },
        class_names=list(weights.meta["categories"]),
    )


def _from_timm(name: str) -> RemoteWeights:
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
    return RemoteWeights(repository.fetch_weights(), timm_preprocessing(name, cfg))


def _from_hub(name: str) -> RemoteWeights:
    repo_id, _, revision = name.removeprefix("hf:").partition("@")
    check_repo_id(repo_id)
    if "@" in name and (not REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{name}: {revision!r} is no branch, tag or commit")
    repository = Repository(name, repo_id, revision or "main")
    # Programs that need no config cache none beside the weights: then do without if it must be.
    needed = not repository.has_weights()
    options: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    if config := repository.fetch("config.json", needed=needed):
        repository = replace(repository, revision=config.parent.name)  # all files of one commit
        if read_config(config).get("model_type") in TRANSFORMERS_NETS:
            repository.fetch("preprocessor_config.json", needed=needed)
        options, preprocessing = describe_snapshot(config.parent)  # refuses other nets early
    return RemoteWeights(repository.fetch_weights().parent, preprocessing, options=options)


def _from_https(name: str) -> RemoteWeights:
    url, _, sha256 = name.partition("#sha256=")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"{name}: add #sha256= and the 64 digits that `sha256sum FILE` prints, so that no "
            "other file is taken for it"
        )
    if not re.fullmatch('https://[!-"$-.0-~]+/[!-"$-~]*', url):  # printable ASCII without #
        raise ValueError(f"{url!r} is no URL of a file: it should read https://HOST/FILE")
    sha256 = sha256.lower()
    return RemoteWeights(cached_file(name, url, f"{sha256[:8]}-{file_name(url)}", sha256))


def _from_http(name: str) -> RemoteWeights:
    raise ValueError(f"{name}: weights are fetched through https only; use https://")


_SOURCES: dict[str, Callable[[str], RemoteWeights]] = {
    "torchvision:": _from_torchvision,
    "timm:": _from_timm,
    "hf:": _from_hub,
    "https://": _from_https,
    "http://": _from_http,
}


def _check_known(prefix: str, key: str, known: Iterable[str]) -> None:
    known = list(known)
    if key not in known:
        longer = [name for name in known if name.startswith(key)]  # a tag that was cut short
        nearest = [*longer, *find_nearest(key, known, cutoff=0)][0]
        raise ValueError(
            f"{prefix}{key} is unknown; did you mean {prefix}{nearest}? Choices: {', '.join(known)}"
        )
