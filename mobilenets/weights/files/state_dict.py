"""The state dict in what a training script saved, under the names that the net itself gives."""

from typing import Any

from torch import Tensor

from mobilenets.weights.files.limits import UnreadableFile

# Where training scripts put the state dict: averages first, as those are what was evaluated.
ENTRIES = (
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "net"),
)
AVERAGES = ("model_ema.", "ema.")  # of an average beside the raw weights in one state dict
WRAPPERS = ("module.", "_orig_mod.", "net.", "model.", "backbone.")
COUNTER = "n_averaged"  # of torch's AveragedModel


def find_state_dict(content: dict[Any, Any], depth: int = 2) -> tuple[dict[Any, Any], list[str]]:
    """The state dict in `content`, at most `depth` entries down, and the others passed over.

    It is empty where there is none.
    """
    found = {}
    for entry in ENTRIES if depth else ():
        if isinstance(content.get(entry), dict):
            state_dict, passed = find_state_dict(content[entry], depth - 1)
            if state_dict:
                found[entry] = state_dict, [f"{entry}.{name}" for name in passed]
    if found:
        first, *others = found
        state_dict, passed = found[first]
        return state_dict, passed + others
    return (content if _has_weights(content) else {}), []


def unwrap(state_dict: dict[Any, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the net's own names, and the keys left out.

    The prefixes of wrappers (DistributedDataParallel, torch.compile, a LightningModule) are
    dropped. Of raw weights and their average in one dict the average is kept.

    Raises:
        ValueError: two keys are one without their prefixes.
    """
    weights = {
        key: value.detach()
        for key, value in state_dict.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    ignored = [str(key) for key in state_dict if key not in weights]
    for average in AVERAGES:
        averaged = {key: value for key, value in weights.items() if key.startswith(average)}
        if _has_weights(averaged):
            ignored += [key for key in weights if key not in averaged]
            weights = averaged
            break
    origins: dict[str, str] = {}
    for key in weights:
        name = _without_wrappers(key)
        if name.endswith(COUNTER):
            ignored.append(key)
        elif name in origins:
            raise UnreadableFile(
                f"holds both {origins[name]!r} and {key!r}, which are one name without their "
                "prefixes: save the state dict of one net alone"
            )
        else:
            origins[name] = key
    return {name: weights[key] for name, key in origins.items()}, ignored


def _has_weights(content: dict[Any, Any]) -> bool:
    """Whether there is a tensor that is more than a counter."""
    return any(isinstance(value, Tensor) and value.ndim for value in content.values())


def _without_wrappers(key: str) -> str:
    while prefix := next((p for p in AVERAGES + WRAPPERS if key.startswith(p)), ""):
        key = key.removeprefix(prefix)
    return key
