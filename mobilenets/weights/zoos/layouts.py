"""Whose names a file uses: what each public zoo calls the layers of the two nets.

Reading matches a file's names against the layouts, which gives every tensor its place in the net;
writing asks a layout, such as ours, what it calls that place.
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

# What stands in a name for a number: {n} counts blocks from 1, {s} stages and {b} the blocks of one
# from 0; {even} and {odd} are twice a block's number, and one more; {k} grows from block to block.
NUMBERS = {
    "{n}": r"(?P<n>\d+)",
    "{s}": r"(?P<s>\d+)",
    "{b}": r"(?P<b>\d+)",
    "{k}": r"(?P<k>\d+)",
    "{even}": r"(?P<even>\d*[02468])",
    "{odd}": r"(?P<odd>\d*[13579])",
}
Names = Mapping[str, str | tuple[str, str]]  # role of a layer -> what it is called


class Place(NamedTuple):
    """Where a module belongs, in the same words for every layout."""

    role: str  # of its layer: "stem", "depthwise", ..., "classifier"
    norm: bool = False  # it is the layer's norm, not its convolution
    block: int | None = None  # the number of its block, from 0; of the head's: how many there are
    plain: bool = False  # its block is one of MobileNetV2 without expansion


@dataclass(frozen=True)
class Layout:
    """The names of one zoo for one of the nets, and what its nets are beside their tensors.

    Attributes:
        zoo: whose they are, for people.
        model: the net, as `create_model` calls it.
        outside: the layers around the blocks: stem, perhaps head, classifier. A pair names the
            convolution and the norm of a layer, a single name takes `parts`.
        block: the layers of a block.
        plain: those of a block without expansion.
        parts: what follows a layer's name for its convolution and for its norm.
        options: of the net, as far as tensors do not show them; empty where the zoo has nets with
            any padding, epsilon and activation, as we have.
        preprocessing: what the net expects, unless the file says otherwise.
        tensorflow: kernels are (H, W, in, out), depthwise ones (H, W, channels, multiplier).
        foreign: roles of layers that our nets lack -> what these are.
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

    def name(self, place: Place, stage: int = 0, in_stage: int = 0) -> str:
        """What the module at `place` is called, its block being number `in_stage` of `stage`."""
        names = {**self.outside, **(self.plain if place.plain else self.block)}
        template = self._pair(place.role, names)[place.norm]
        return template.format(n=(place.block or 0) + 1, s=stage, b=in_stage)

    def match(self, modules: Iterable[str]) -> "Match":
        """Finds the place of each module of a file."""
        places: dict[str, Place] = {}
        unknown: list[str] = []
        blocks: dict[tuple[int, ...], dict[str, list[Place]]] = {}
        for module in modules:
            found = list(self._candidates(module))
            if not found:
                unknown.append(module)
            elif found[0][1].role in self.outside:
                places[module] = found[0][1]
            else:
                for number, place in found:
                    blocks.setdefault(number, {}).setdefault(module, []).append(place)
        for i, number in enumerate(sorted(blocks)):
            plain = self._is_plain(blocks[number])
            for module, candidates in blocks[number].items():
                fitting = [place for place in candidates if place.plain == plain]
                if fitting:
                    places[module] = fitting[0]._replace(block=i)
                else:
                    unknown.append(module)
        for module, place in places.items():
            if place.role == "head":
                places[module] = place._replace(block=len(blocks))
        return Match(self, places, unknown, sorted(blocks))

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Place]]:
        groups = (self.outside, False), (self.plain, True), (self.block, False)
        return [
            (re.compile(_numbered(template)), Place(role, norm, plain=plain))
            for names, plain in groups
            for role in names
            for norm, template in zip((False, True), self._pair(role, names), strict=True)
        ]

    def _pair(self, role: str, names: Names) -> tuple[str, str]:
        name = names[role]
        if not isinstance(name, str):
            return name
        if role == "classifier":
            return name, name
        return name + self.parts[0], name + self.parts[1]

    def _candidates(self, module: str) -> Iterator[tuple[tuple[int, ...], Place]]:
        for pattern, place in self._patterns:
            if match := pattern.fullmatch(module):
                halved = {"even", "odd"} & match.groupdict().keys()
                numbers = [int(number) for number in match.groupdict().values()]
                yield tuple(number // 2 if halved else number for number in numbers), place

    def _is_plain(self, modules: Mapping[str, list[Place]]) -> bool:
        """Whether the modules of a block are those of one without expansion."""
        plain, expanded = (
            sum(any(place.plain == kind for place in places) for places in modules.values())
            for kind in (True, False)
        )
        return plain > expanded or plain == len(modules) == 2 * len(self.plain)


def _numbered(template: str) -> str:
    for number, pattern in NUMBERS.items():
        template = template.replace(number, pattern)
    return template


class Match(NamedTuple):
    """How the names of a file fit a layout."""

    layout: Layout
    places: dict[str, Place]  # module -> where it belongs
    unknown: list[str]  # modules that belong nowhere
    blocks: list[tuple[int, ...]]  # the numbers that the file gives the blocks

    def blocks_per_stage(self) -> list[int] | None:
        """How many blocks each stage has, if the names say so."""
        if not self.blocks or any(len(number) != 2 for number in self.blocks):
            return None
        stages = [stage for stage, _ in self.blocks]
        return [stages.count(stage) for stage in sorted(set(stages))]


def best_match(modules: Iterable[str]) -> Match:
    """How the names fit the layout that knows most of them."""
    modules = list(modules)
    return max((layout.match(modules) for layout in LAYOUTS), key=lambda match: len(match.places))


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
# V1 first: the names of its blocks are also those of V2's without expansion.
LAYOUTS = (
    MOBILENETS_V1, TIMM_V1, KUANGLIU_V1, TRANSFORMERS_V1, KERAS_V1, SLIM_V1,
    TORCHVISION_V2, TIMM_V2, TONYLINS_V2, D_LI14_V2, KUANGLIU_V2, TRANSFORMERS_V2, KERAS_V2,
    SLIM_V2,
)  # fmt: skip
