"""The state dict in a training script's checkpoint, under the net's own names."""

from typing import Any

from torch import Tensor

from mobilenets.weights.files.limits import UnreadableFile

# Where training scripts put the state dict: EMA first, as that is what they evaluate.
ENTRIES = (
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "net"),
)
EMA_PREFIXES = ("model_ema.", "ema.")  # where one state dict holds the raw weights too
WRAPPERS = ("module.", "_orig_mod.", "net.", "model.", "backbone.")
COUNTER = "n_averaged"  # of torch's AveragedModel


def find_state_dict(content: dict[Any, Any], depth: int = 2) -> tuple[dict[Any, Any], list[str]]:
    """Find the state dict in `content`, at most `depth` entries down.

    Returns:
        The state dict, empty if there is none, and the names of others that were passed over.
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
    """Remove the prefixes of wrappers: DistributedDataParallel, torch.compile, LightningModule.

    Where one state dict holds raw weights and their EMA, only the EMA is kept.

    Returns:
        The weights under the net's own names, and the keys left out.

    Raises:
        UnreadableFile: without their prefixes, two keys are the same.
    """
    weights = {
        key: value.detach()
        for key, value in state_dict.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    ignored = [str(key) for key in state_dict if key not in weights]
    for prefix in EMA_PREFIXES:
        ema = {key: value for key, value in weights.items() if key.startswith(prefix)}
        if _has_weights(ema):
            ignored += [key for key in weights if key not in ema]
            weights = ema
            break
    origins: dict[str, str] = {}
    for key in weights:
        name = _strip_prefixes(key)
        if name.endswith(COUNTER):
            ignored.append(key)
        elif name in origins:
            raise UnreadableFile(
                f"holds both {origins[name]!r} and {key!r}, which are the same without their "
                "prefixes: save the state dict of one net alone"
            )
        else:
            origins[name] = key
    return {name: weights[key] for name, key in origins.items()}, ignored


def _has_weights(content: dict[Any, Any]) -> bool:
    """Whether there is a tensor that is more than a counter."""
    return any(isinstance(value, Tensor) and value.ndim for value in content.values())


def _strip_prefixes(key: str) -> str:
    while prefix := next((p for p in EMA_PREFIXES + WRAPPERS if key.startswith(p)), ""):
        key = key.removeprefix(prefix)
    return key
