"""The options of a net, inferred from the names and shapes of its tensors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from torch import Tensor

from mobilenets.models import make_divisible
from mobilenets.models import mobilenet_v1 as v1
from mobilenets.models import mobilenet_v2 as v2
from mobilenets.weights.zoos.layouts import Match, find_best_match

PUBLISHED_WIDTHS = (1.0, 0.75, 0.5, 0.25, 0.35, 1.4, 1.3, 1.25, 0.1, 1.5, 2.0)
OTHER_WIDTHS = tuple(hundredths / 100 for hundredths in range(1, 401))
DIVISORS = (8, 4, 2, 1)
Shapes = Mapping[str, tuple[int, ...]]  # by key of the state dict


def infer_options(match: Match, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the options of `create_model` from a state dict with our keys.

    Raises:
        ValueError: our nets can't have such tensors; the message follows the file's name.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
    stem = _find_kernel_shape(shapes, "features.0.0.weight")
    infer = {"mobilenet_v1": _infer_v1, "mobilenet_v2": _infer_v2}[match.layout.model]
    return {
        "num_classes": (shapes.get("classifier.1.weight") or (0,))[0],
        "in_channels": stem[1],
        "conv": "depthwise",  # our nets with other convolutions have a record
        "channels_per_group": None,
        **infer(match, shapes),
    }


def guess_net(state_dict: Mapping[str, Tensor]) -> str:
    """Return a line that says what net the tensors look like, "" if that is not clear."""
    if prefix := find_foreign_prefix(state_dict):
        return f"\nall its names begin with {prefix!r}: save the state dict of the net itself"
    match = find_best_match(_list_modules(state_dict))
    try:
        options = infer_options(match, state_dict)
    except (ValueError, LookupError):
        return ""
    return (
        f"\nits tensors look like a {match.layout.model} of width {options['width_mult']:g} with "
        f"{options['num_classes']} classes"
    )


def find_foreign_prefix(keys: Iterable[str]) -> str:
    """Find a prefix of all names that no layout knows: "student." of "student.stem.weight"."""
    keys = list(keys)
    columns = zip(*(key.split(".") for key in keys), strict=False)
    shared = takewhile(lambda column: len(set(column)) == 1, columns)
    prefix = "".join(f"{column[0]}." for column in shared)
    if not prefix:
        return ""
    bare = [key.removeprefix(prefix) for key in keys]
    known, known_bare = (find_best_match(_list_modules(names)) for names in (keys, bare))
    return prefix if len(known_bare.positions) > len(known.positions) else ""


def _list_modules(keys: Iterable[str]) -> set[str]:
    return {key.rpartition(".")[0] for key in keys}


def _infer_v1(match: Match, shapes: Shapes) -> dict[str, Any]:
    count = len(match.blocks)
    tables = {len(table): table for table in (v1.BLOCKS, v1.SHALLOW_BLOCKS)}
    if count not in tables:
        raise ValueError(f"has {count} blocks, and a MobileNetV1 13, or 8 if it is shallow")
    paper = [v1.STEM[0], *(c for c, _ in tables[count])]
    keys = [f"features.{n}.pointwise.0.weight" for n in range(1, count + 1)]
    pointwise = [_find_kernel_shape(shapes, key) for key in keys]
    channels = [shapes["features.0.0.weight"][0], *(shape[0] for shape in pointwise)]
    width, divisor = next(find_widths(paper, channels), (None, 8))
    if width is None:
        raise ValueError(f"has {channels} channels, which no width of a MobileNetV1 gives")
    head = shapes.get(f"features.{count + 1}.0.weight")
    return {
        "width_mult": width,
        "divisor": divisor,
        "shallow": count == len(v1.SHALLOW_BLOCKS),
        "kernels_per_layer": pointwise[0][1] // channels[0],
        "head_channels": round(head[0] / max(1.0, width)) if head else None,
    }


def _infer_v2(match: Match, shapes: Shapes) -> dict[str, Any]:
    count = len(match.blocks)
    rows = []  # (expand_ratio, channels) of each block
    for n in range(1, count + 1):
        if (key := f"features.{n}.conv.2.weight") in shapes and len(shapes[key]) == 4:
            expanded, narrow, *_ = _find_kernel_shape(shapes, f"features.{n}.conv.0.0.weight")
            rows.append((round(expanded / narrow), shapes[key][0]))
        else:
            rows.append((1, _find_kernel_shape(shapes, f"features.{n}.conv.1.weight")[0]))
    lengths = match.count_blocks_per_stage() or infer_stage_lengths(rows)
    if len(lengths) != len(v2.STAGES):
        raise ValueError(
            f"has {count} blocks in {len(lengths)} stages, and a MobileNetV2 {len(v2.STAGES)} "
            "stages: their strides can't be inferred"
        )
    stem = shapes["features.0.0.weight"][0]
    head = _find_kernel_shape(shapes, f"features.{count + 1}.0.weight")[0]
    stages = []
    for i, (*_, stride) in enumerate(v2.STAGES):
        expand_ratio, width = rows[sum(lengths[:i])]
        stages.append([expand_ratio, width, lengths[i], stride])
    channels = [stem, *(c for _, c, *_ in stages), head]
    paper = [c for _, c, *_ in v2.STAGES]
    for width_mult, divisor in find_widths([v2.STEM[0], *paper], channels[:-1]):
        if head == make_divisible(v2.HEAD_CHANNELS * max(1.0, width_mult), divisor):
            stages = [[t, c, n, s] for (t, _, n, s), c in zip(stages, paper, strict=True)]
            return {"width_mult": width_mult, "divisor": divisor, "stages": stages}
    if (stem, head) != (v2.STEM[0], v2.HEAD_CHANNELS):
        raise ValueError(f"has {channels} channels, which no width of a MobileNetV2 gives")
    divisor = next(divisor for divisor in DIVISORS if not any(c % divisor for c in channels))
    return {"width_mult": 1.0, "divisor": divisor, "stages": stages}  # timm's 110d and 120d


def infer_stage_lengths(rows: Sequence[tuple[int, int]]) -> list[int]:
    """Count the blocks of each stage: as in the paper, or else runs of equal blocks."""
    lengths = [n for *_, n, _ in v2.STAGES]
    if len(rows) == sum(lengths):
        return lengths
    runs: list[int] = []
    for i, row in enumerate(rows):
        if i and row == rows[i - 1]:
            runs[-1] += 1
        else:
            runs.append(1)
    return runs


def find_widths(paper: Sequence[int], channels: Sequence[int]) -> Iterator[tuple[float, int]]:
    """Yield each (width_mult, divisor) that turns the paper's channels into these.

    The most common pairs come first.
    """
    for divisor in DIVISORS:
        for width in (*PUBLISHED_WIDTHS, *OTHER_WIDTHS):
            if [make_divisible(c * width, divisor) for c in paper] == list(channels):
                yield width, divisor


def _find_kernel_shape(shapes: Shapes, key: str) -> tuple[int, ...]:
    if len(shapes.get(key, ())) != 4 or 0 in shapes[key]:
        raise ValueError(f"lacks the convolution {key}")
    return shapes[key]
