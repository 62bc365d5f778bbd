"""Layouts: what each public zoo calls the layers of the two nets.

To read a file, its names are matched against the layouts, which gives each module its position in
the net. To write one, a layout names each position.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

PYTORCH = {"bn_eps": 1e-5, "padding": "symmetric", "activation": "relu6"}
TENSORFLOW = {"bn_eps": 1e-3, "padding": "same", "activation": "relu6"}

AT_224 = {"image_size": 224, "crop_pct": 0.875, "interpolation": "bilinear"}
IMAGENET = {**AT_224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INCEPTION = {**AT_224, "mean": [0.5], "std": [0.5]}  # inputs from -1 to 1
CIFAR10 = {
    "image_size": 32,
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.2023, 0.1994, 0.2010],
}

# Numbers in names: {n} counts blocks from 1; {s} counts stages and {b} the blocks of a stage, from
# 0; {even} and {odd} are twice a block's number, and one more; {k} grows from block to block.
NUMBERS = {
    "{n}": r"(?P<n>\d+)",
    "{s}": r"(?P<s>\d+)",
    "{b}": r"(?P<b>\d+)",
    "{k}": r"(?P<k>\d+)",
    "{even}": r"(?P<even>\d*[02468])",
    "{odd}": r"(?P<odd>\d*[13579])",
}
Names = Mapping[str, str | tuple[str, str]]  # role of a layer -> what it is called


class Position(NamedTuple):
    """The position of a module in the net, the same for every layout."""

    role: str  # of its layer: "stem", "depthwise", ..., "classifier"
    is_norm: bool = False  # the layer's norm, not its convolution
    block: int | None = None  # index of its block; for the head, the number of blocks
    is_plain: bool = False  # in a block of MobileNetV2 without expansion


@dataclass(frozen=True)
class Layout:
    """The names of one zoo for one of the nets, and what its tensors don't show.

    Attributes:
        zoo: whose names they are, for messages.
        model: the net, as `create_model` calls it.
        outside: layers outside the blocks: stem, perhaps head, classifier. A pair names the
            convolution and the norm of a layer; to a single name, `parts` are appended.
        block: layers of a block.
        plain: layers of a block without expansion.
        parts: suffixes of a layer's name for its convolution and its norm.
        options: of the net, where tensors don't show them; empty if the zoo, as ours, has nets
            with any padding, epsilon and activation.
        preprocessing: what the net expects, unless the file says otherwise.
        tensorflow: kernels are (H, W, in, out), depthwise ones (H, W, channels, multiplier).
        foreign: roles of layers that our nets lack -> what they are.
    """

    zoo: str
    model: str
    outside: Names
    block: Names
    plain: Names = field(default_factory=dict)
    parts: tuple[str, str] = (".0", ".1")
    options: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: IMAGENET)
    tensorflow: bool = False
    foreign: Mapping[str, str] = field(default_factory=dict)

    def name(self, position: Position, stage: int = 0, in_stage: int = 0) -> str:
        """Name the module at `position`, whose block has the index `in_stage` in `stage`."""
        names = {**self.outside, **(self.plain if position.is_plain else self.block)}
        template = self._name_pair(position.role, names)[position.is_norm]
        return template.format(n=(position.block or 0) + 1, s=stage, b=in_stage)

    def match(self, modules: Iterable[str]) -> "Match":
        """Find the position of each module of a file."""
        positions: dict[str, Position] = {}
        unknown: list[str] = []
        blocks: dict[tuple[int, ...], dict[str, list[Position]]] = {}
        for module in modules:
            found = list(self._find_candidates(module))
            if not found:
                unknown.append(module)
            elif found[0][1].role in self.outside:
                positions[module] = found[0][1]
            else:
                for number, position in found:
                    blocks.setdefault(number, {}).setdefault(module, []).append(position)
        for i, number in enumerate(sorted(blocks)):
            is_plain = self._is_plain(blocks[number])
            for module, candidates in blocks[number].items():
                fitting = [position for position in candidates if position.is_plain == is_plain]
                if fitting:
                    positions[module] = fitting[0]._replace(block=i)
                else:
                    unknown.append(module)
        for module, position in positions.items():
            if position.role == "head":
                positions[module] = position._replace(block=len(blocks))
        return Match(self, positions, unknown, sorted(blocks))

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Position]]:
        groups = (self.outside, False), (self.plain, True), (self.block, False)
        return [
            (re.compile(_fill_numbers(template)), Position(role, is_norm, is_plain=is_plain))
            for names, is_plain in groups
            for role in names
            for is_norm, template in zip((False, True), self._name_pair(role, names), strict=True)
        ]

    def _name_pair(self, role: str, names: Names) -> tuple[str, str]:
        name = names[role]
        if not isinstance(name, str):
            return name
        if role == "classifier":
            return name, name
        return name + self.parts[0], name + self.parts[1]

    def _find_candidates(self, module: str) -> Iterator[tuple[tuple[int, ...], Position]]:
        for pattern, position in self._patterns:
            if match := pattern.fullmatch(module):
                halved = {"even", "odd"} & match.groupdict().keys()
                numbers = [int(number) for number in match.groupdict().values()]
                yield tuple(number // 2 if halved else number for number in numbers), position

    def _is_plain(self, modules: Mapping[str, list[Position]]) -> bool:
        """Whether a block with these modules has no expansion."""
        plain, expanded = (
            sum(any(p.is_plain == kind for p in candidates) for candidates in modules.values())
            for kind in (True, False)
        )
        return plain > expanded or plain == len(modules) == 2 * len(self.plain)


def _fill_numbers(template: str) -> str:
    for number, pattern in NUMBERS.items():
        template = template.replace(number, pattern)
    return template


class Match(NamedTuple):
    """The names of a file, matched against a layout."""

    layout: Layout
    positions: dict[str, Position]
    unknown: list[str]  # modules without a position
    blocks: list[tuple[int, ...]]  # the numbers that the file gives the blocks

    def count_blocks_per_stage(self) -> list[int] | None:
        """Count the blocks of each stage; None if the names don't show stages."""
        if not self.blocks or any(len(number) != 2 for number in self.blocks):
            return None
        stages = [stage for stage, _ in self.blocks]
        return [stages.count(stage) for stage in sorted(set(stages))]


def find_best_match(modules: Iterable[str]) -> Match:
    """Match the names against the layout that knows most of them."""
    modules = list(modules)
    matches = (layout.match(modules) for layout in LAYOUTS)
    return max(matches, key=lambda match: len(match.positions))


MOBILENETS_V1 = Layout(
    "mobilenets",
    "mobilenet_v1",
    outside={"stem": "features.0", "head": "features.{n}", "classifier": "classifier.1"},
    block={"depthwise": "features.{n}.depthwise", "pointwise": "features.{n}.pointwise"},
)
TORCHVISION_V2 = Layout(  # ours too; and chenyaofo's and huyvnphan's for CIFAR
    "torchvision",
    "mobilenet_v2",
    outside={"stem": "features.0", "head": "features.{n}", "classifier": "classifier.1"},
    plain={
        "depthwise": "features.{n}.conv.0",
        "project": ("features.{n}.conv.1", "features.{n}.conv.2"),
    },
    block={
        "expand": "features.{n}.conv.0",
        "depthwise": "features.{n}.conv.1",
        "project": ("features.{n}.conv.2", "features.{n}.conv.3"),
    },
)
OURS = {layout.model: layout for layout in (MOBILENETS_V1, TORCHVISION_V2)}

TIMM_V1 = Layout(
    "timm",
    "mobilenet_v1",
    outside={
        "stem": ("conv_stem", "bn1"),
        "head": ("conv_head", "bn2"),
        "classifier": "classifier",
    },
    block={
        "depthwise": ("blocks.{s}.{b}.conv_dw", "blocks.{s}.{b}.bn1"),
        "pointwise": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn2"),
    },
    preprocessing={**INCEPTION, "interpolation": "bicubic"},
)
TIMM_V2 = Layout(
    "timm",
    "mobilenet_v2",
    outside=TIMM_V1.outside,
    plain={
        "depthwise": ("blocks.{s}.{b}.conv_dw", "blocks.{s}.{b}.bn1"),
        "project": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn2"),
    },
    block={
        "expand": ("blocks.{s}.{b}.conv_pw", "blocks.{s}.{b}.bn1"),
        "depthwise": ("blocks.{s}.{b}.conv_dw", "blocks.{s}.{b}.bn2"),
        "project": ("blocks.{s}.{b}.conv_pwl", "blocks.{s}.{b}.bn3"),
    },
    preprocessing={**IMAGENET, "interpolation": "bicubic"},
)
TONYLINS_V2 = Layout(
    "tonylins",
    "mobilenet_v2",
    outside={"stem": "features.0", "head": "features.{n}", "classifier": "classifier"},
    plain={
        "depthwise": ("features.{n}.conv.0", "features.{n}.conv.1"),
        "project": ("features.{n}.conv.3", "features.{n}.conv.4"),
    },
    block={
        "expand": ("features.{n}.conv.0", "features.{n}.conv.1"),
        "depthwise": ("features.{n}.conv.3", "features.{n}.conv.4"),
        "project": ("features.{n}.conv.6", "features.{n}.conv.7"),
    },
    options=PYTORCH,
)
D_LI14_V2 = Layout(
    "d-li14",
    "mobilenet_v2",
    outside={"stem": "features.0", "head": "conv", "classifier": "classifier"},
    plain=TONYLINS_V2.plain,
    block=TONYLINS_V2.block,
    options=PYTORCH,
)
KUANGLIU_V1 = Layout(
    "kuangliu",
    "mobilenet_v1",
    outside={"stem": ("conv1", "bn1"), "classifier": "linear"},
    block={
        "depthwise": ("layers.{k}.conv1", "layers.{k}.bn1"),
        "pointwise": ("layers.{k}.conv2", "layers.{k}.bn2"),
    },
    options={
        **PYTORCH,
        "activation": "relu",
        "strides": [1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1],
    },
    preprocessing=CIFAR10,
)
KUANGLIU_V2 = Layout(
    "kuangliu",
    "mobilenet_v2",
    outside={"stem": ("conv1", "bn1"), "head": ("conv2", "bn2"), "classifier": "linear"},
    block={
        "first": ("layers.(?P<k>0).conv1", "layers.(?P<k>0).bn1"),
        "expand": ("layers.{k}.conv1", "layers.{k}.bn1"),
        "depthwise": ("layers.{k}.conv2", "layers.{k}.bn2"),
        "project": ("layers.{k}.conv3", "layers.{k}.bn3"),
        "shortcut": "layers.{k}.shortcut",
    },
    options={**PYTORCH, "activation": "relu", "strides": [1, 1, 1, 2, 2, 1, 2, 1]},
    preprocessing=CIFAR10,
    foreign={
        "first": "an expansion in a block of expand_ratio 1",
        "shortcut": "a convolution in a shortcut",
    },
)
TRANSFORMERS_V1 = Layout(
    "Hugging Face transformers",
    "mobilenet_v1",
    outside={"stem": "mobilenet_v1.conv_stem", "classifier": "classifier"},
    block={
        "depthwise": "mobilenet_v1.layer.{even}",
        "pointwise": "mobilenet_v1.layer.{odd}",
    },
    parts=(".convolution", ".normalization"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
)
TRANSFORMERS_V2 = Layout(
    "Hugging Face transformers",
    "mobilenet_v2",
    outside={
        "stem": "mobilenet_v2.conv_stem.first_conv",
        "head": "mobilenet_v2.conv_1x1",
        "classifier": "classifier",
    },
    plain={
        "depthwise": "mobilenet_v2.conv_stem.conv_3x3",
        "project": "mobilenet_v2.conv_stem.reduce_1x1",
    },
    block={
        "expand": "mobilenet_v2.layer.{k}.expand_1x1",
        "depthwise": "mobilenet_v2.layer.{k}.conv_3x3",
        "project": "mobilenet_v2.layer.{k}.reduce_1x1",
    },
    parts=(".convolution", ".normalization"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
)
KERAS_V1 = Layout(
    "Keras",
    "mobilenet_v1",
    outside={"stem": "conv1", "classifier": r"conv_preds|predictions|dense(?:_\d+)?"},
    block={"depthwise": "conv_dw_{k}", "pointwise": "conv_pw_{k}"},
    parts=("", "_bn"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
    tensorflow=True,
)
KERAS_V2 = Layout(
    "Keras",
    "mobilenet_v2",
    outside={
        "stem": ("Conv1", "bn_Conv1"),
        "head": ("Conv_1", "Conv_1_bn"),
        "classifier": r"predictions|Logits|dense(?:_\d+)?",
    },
    plain={"depthwise": "expanded_conv_depthwise", "project": "expanded_conv_project"},
    block={
        "expand": "block_{k}_expand",
        "depthwise": "block_{k}_depthwise",
        "project": "block_{k}_project",
    },
    parts=("", "_BN"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
    tensorflow=True,
)
SLIM_V1 = Layout(
    "TF-slim",
    "mobilenet_v1",
    outside={
        "stem": "MobilenetV1/Conv2d_0",
        "classifier": "MobilenetV1/Logits/Conv2d_1c_1x1",
    },
    block={
        "depthwise": "MobilenetV1/Conv2d_{k}_depthwise",
        "pointwise": "MobilenetV1/Conv2d_{k}_pointwise",
    },
    parts=("", "/BatchNorm"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
    tensorflow=True,
)
SLIM_V2 = Layout(
    "TF-slim",
    "mobilenet_v2",
    outside={
        "stem": "MobilenetV2/Conv",
        "head": "MobilenetV2/Conv_1",
        "classifier": "MobilenetV2/Logits/Conv2d_1c_1x1",
    },
    plain={
        "depthwise": "MobilenetV2/expanded_conv/depthwise",
        "project": "MobilenetV2/expanded_conv/project",
    },
    block={
        "expand": "MobilenetV2/expanded_conv_{k}/expand",
        "depthwise": "MobilenetV2/expanded_conv_{k}/depthwise",
        "project": "MobilenetV2/expanded_conv_{k}/project",
    },
    parts=("", "/BatchNorm"),
    options=TENSORFLOW,
    preprocessing=INCEPTION,
    tensorflow=True,
)
# V1 first: V2's blocks without expansion have the same names.
LAYOUTS = (
    MOBILENETS_V1, TIMM_V1, KUANGLIU_V1, TRANSFORMERS_V1, KERAS_V1, SLIM_V1,
    TORCHVISION_V2, TIMM_V2, TONYLINS_V2, D_LI14_V2, KUANGLIU_V2, TRANSFORMERS_V2, KERAS_V2,
    SLIM_V2,
)  # fmt: skip
