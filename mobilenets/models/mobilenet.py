"""What both nets share: features, global average pooling, classifier; strides and dilation."""

import json
import math
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.choices import check_choice
from mobilenets.models.blocks import ACTIVATIONS, check_ints, check_number

OUTPUT_STRIDES = (32, 16, 8)
STRIDE_PRESETS = ("imagenet", "cifar")


class MobileNet(nn.Module):
    """features -> global average pooling -> dropout -> linear classifier.

    A subclass builds the layers of `features` and states the paper's numbers.

    Attributes:
        name: the net's name in `create_model`.
        options: every constructor argument in plain JSON types;
            `create_model(model.name, **model.options)` builds the same net again.
        num_features: channels of the pooled vector that the classifier reads.
        feature_info: one dict for each map of `forward_intermediates`: its channels (num_chs),
            its stride (reduction), the layer that gives it (module). These are timm's keys.
        class_names, preprocessing, metrics: what the file of trained weights says of classes,
            images and figures (`mobilenets.weights.Weights`); empty without one.
        weights_report: what became of its tensors (`mobilenets.weights.Report`); None without one.
    """

    name: str

    def __init__(
        self,
        features: Sequence[nn.Module],
        num_features: int,
        feature_info: list[dict[str, Any]],
        options: dict[str, Any],
    ):
        super().__init__()
        arguments = {key: options[key] for key in signature(type(self)).parameters}
        self.options: dict[str, Any] = json.loads(json.dumps(arguments))  # tuples become lists
        self.num_features = num_features
        self.feature_info = feature_info
        self.class_names: list[str] = []
        self.preprocessing: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.weights_report: Any = None
        self.features = nn.Sequential(*features)
        self.classifier = self._make_classifier()
        self._init_weights()

    @property
    def num_classes(self) -> int:
        """Number of logits; 0 = no classifier."""
        return self.options["num_classes"]

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> logits (N, num_classes)."""
        x = self.forward_features(x)  # (N, num_features, H / 32, W / 32)
        return self.forward_head(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) -> the last map (N, num_features, H / 32, W / 32)."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map -> logits (N, num_classes), or with pre_logits (N, num_features)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (N, C, H, W) -> (N, C)
        return x if pre_logits else self.classifier(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map of each resolution, for detection and segmentation heads.

        Called as timm's method of this name. With the paper's strides there are five maps, at
        strides 2, 4, 8, 16 and 32; `feature_info` describes them.

        Args:
            x: images (N, in_channels, H, W).
            indices: which maps: None = all, n = the last n, or a list, where -1 is the last.
            norm: accepted as timm passes it; changes nothing, all maps are normalised.
            stop_early: leave out the layers after the last map asked for.
            output_fmt: "NCHW", the only format of a convolutional net.
            intermediates_only: return the maps alone.

        Returns:
            (`forward_features(x)`, maps), or the maps; maps are in the order of the net.

        Raises:
            ValueError: an index out of range, another format, or stop_early without
                intermediates_only (the last map of the net would be missing).
        """
        if output_fmt != "NCHW":
            raise ValueError(f'output_fmt={output_fmt!r} is not available: use "NCHW"')
        if stop_early and not intermediates_only:
            raise ValueError("stop_early=True needs intermediates_only=True")
        wanted = self._feature_modules(indices)
        maps: list[Tensor] = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if f"features.{i}" in wanted:
                maps.append(x)
            if stop_early and len(maps) == len(wanted):
                break
        return maps if intermediates_only else (x, maps)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns that sort the parameters' names by layer, for timm's layer-wise functions.

        What no pattern matches, the classifier, is timm's last layer.

        Args:
            coarse: accepted as timm passes it; changes nothing.
        """
        return {"stem": r"^features\.0\.", "blocks": r"^features\.(\d+)\."}

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one, on the same device; 0 = none, as in timm."""
        check_ints(0, num_classes=num_classes)
        self.options["num_classes"] = num_classes
        weight = next(self.parameters())
        self.classifier = self._make_classifier().to(weight.device, weight.dtype)
        self.classifier.train(self.training)

    def _make_classifier(self) -> nn.Module:
        if self.num_classes == 0:
            return nn.Identity()
        linear = nn.Linear(self.num_features, self.num_classes)
        nn.init.normal_(linear.weight, 0.0, 0.01)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.Dropout(self.options["dropout"]), linear)

    def _init_weights(self) -> None:
        """Convolutions N(0, 2 / fan-out), norms 1 and 0: as torchvision publishes MobileNetV2."""
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def _feature_modules(self, indices: int | Sequence[int] | None) -> set[str]:
        """Names of the layers that give the maps `indices`."""
        count = len(self.feature_info)
        if indices is None:
            indices = count
        if isinstance(indices, int):
            check_ints(1, indices=indices)
            indices = range(-indices, 0)
        for i in indices:
            if not -count <= i < count:
                raise ValueError(f"there are {count} maps, number {i} is not one of them")
        return {self.feature_info[i]["module"] for i in indices}


def check_options(
    *,
    num_classes: int,
    in_channels: int,
    width_mult: float,
    dropout: float,
    activation: str,
    bn_eps: float,
    bn_momentum: float,
    output_stride: int,
    divisor: int,
    **_: Any,
) -> None:
    """ValueError for the first of the two nets' common options that is out of range.

    The names of padding and conv are checked by the blocks, the strides by `resolve_strides`.
    """
    check_ints(0, num_classes=num_classes)
    check_ints(1, in_channels=in_channels, divisor=divisor)
    check_number("width_mult", width_mult, above=0)
    check_number("bn_eps", bn_eps, above=0)
    check_choice("activation", activation, ACTIVATIONS)
    for option, value in (("dropout", dropout), ("bn_momentum", bn_momentum)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{option}={value!r} must be a number from 0 to 1")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride!r} must be one of 32, 16 and 8")


def resolve_strides(strides: str | Sequence[int], published: Sequence[int]) -> list[int]:
    """The stem's stride, then one for each block (V1) or stage (V2).

    Args:
        strides: "imagenet" = `published`; "cifar" = for 32 x 32 images: the stem and the first
            block or stage that has a stride keep the size, so that the last map is 4 x 4; or
            the strides themselves, as many as `published`.
        published: the strides of the paper.

    For V2 "cifar" gives 1, then 1 1 2 2 1 2 1 for the stages: the strides of
    kuangliu/pytorch-cifar, chenyaofo/pytorch-cifar-models, huyvnphan/PyTorch_CIFAR10 and
    zeiss-microscopy/BSConv. For V1 it gives 1, then 64: 1, 128: 1 1, 256: 2 1, 512: 2 1 1 1 1 1,
    1024: 2 1, which are BSConv's. kuangliu's V1 has one stride more and a last map of 2 x 2. At
    equal multiply-adds the larger map needs a quarter of the parameters: on CIFAR-10 BSConv's
    README has 92.44 % for width 0.5 (47 M MACs, 0.82 M parameters), kuangliu's issue #112 has
    92.35 % for width 1.0 (46 M MACs, 3.2 M parameters).

    Raises:
        ValueError: an unknown preset, another number of strides, or strides that multiply to more
            than 32.
    """
    if isinstance(strides, str) or not isinstance(strides, Sequence):
        check_choice("strides", strides, STRIDE_PRESETS)
    resolved = list(published if isinstance(strides, str) else strides)
    if strides == "cifar":
        for i in [i for i, stride in enumerate(published) if stride > 1][:2]:
            resolved[i] = 1
    if len(resolved) != len(published):
        raise ValueError(
            f"strides={resolved} has {len(resolved)} numbers, this net takes {len(published)}, the "
            'stem\'s first; or name a preset, "imagenet" or "cifar"'
        )
    for stride in resolved:
        check_ints(1, strides=stride)
    if math.prod(resolved) > max(OUTPUT_STRIDES):
        raise ValueError(
            f"strides={resolved} multiply to {math.prod(resolved)}: these nets end at a stride of "
            f"{max(OUTPUT_STRIDES)} or less, so set more of them to 1"
        )
    return resolved


def dilate(strides: Sequence[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) of each layer, so that the last map has at most stride `output_stride`.

    A layer whose stride would exceed it keeps its input's size and dilation, and the layers after
    it are dilated by its stride: their kernels then see what they would have seen, so the weights
    still fit. The rule of TF-slim and timm.
    """
    plan, reached, dilation = [], 1, 1
    for stride in strides:
        if reached * stride > output_stride:
            plan.append((1, dilation))
            dilation *= stride
        else:
            plan.append((stride, dilation))
            reached *= stride
    return plan


def describe_features(
    channels: Sequence[int], strides: Sequence[int], plan: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """`feature_info`: the last layer before each stride, and the last of all.

    Args:
        channels: output channels of each layer of `features`, the stem's first.
        strides: their strides before dilation, so that dilated nets have the same maps.
        plan: their (stride, dilation).
    """
    info, reduction = [], 1
    for i, (stride, _) in enumerate(plan):
        reduction *= stride
        if i + 1 == len(strides) or strides[i + 1] > 1:
            info.append({"num_chs": channels[i], "reduction": reduction, "module": f"features.{i}"})
    return info
