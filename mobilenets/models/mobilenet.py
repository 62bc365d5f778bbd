"""The base class of the nets, and their strides and dilation."""

import json
import math
from collections.abc import Sequence
from inspect import signature
from typing import Any, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from mobilenets.choices import check_choice
from mobilenets.net_options import OutputStride, StridePreset, check_options
from mobilenets.ranges import check_ints

MAX_STRIDE = max(get_args(OutputStride))  # of the last map


class MobileNet(nn.Module):
    """A net of features, global average pooling, dropout and a linear classifier.

    A subclass builds the layers of `features` from its paper's table.

    Attributes:
        name: the net's name in `create_model`.
        options: every constructor argument in plain JSON types;
            `create_model(model.name, **model.options)` builds the same net again.
        num_features: size of the pooled vector that the classifier reads.
        feature_info: a dict for each map of `forward_intermediates` with timm's keys: its channels
            (num_chs), its stride (reduction) and the layer that outputs it (module).
        class_names, preprocessing, metrics: read from the weights file, as in
            `mobilenets.weights.Weights`; empty if the net has random weights.
        weights_report: the `mobilenets.weights.Report` of loading that file; None without one.
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
        """The number of logits; 0 = no classifier."""
        return self.options["num_classes"]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        x = self.forward_features(x)  # (N, num_features, H / 32, W / 32)
        return self.forward_head(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> the last map (N, num_features, H / 32, W / 32)."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map -> logits (N, num_classes), or (N, num_features) with pre_logits."""
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
        """Return the last map at each resolution, for detection and segmentation heads.

        The signature is that of timm's `forward_intermediates`. With the paper's strides there are
        five maps, at strides 2, 4, 8, 16 and 32; `feature_info` describes them.

        Args:
            x: images (N, in_channels, H, W).
            indices: which maps: None = all, n = the last n, or a list of indices.
            norm: ignored, because all maps are normalised.
            stop_early: skip the layers after the last of these maps.
            output_fmt: "NCHW" only.
            intermediates_only: return only the maps.

        Returns:
            (`forward_features(x)`, maps), or only the maps. Maps are in the net's order.

        Raises:
            ValueError: an index out of range, another format, or stop_early without
                intermediates_only, which would lack the net's last map.
        """
        if output_fmt != "NCHW":
            raise ValueError(f'output_fmt={output_fmt!r} is not supported: use "NCHW"')
        if stop_early and not intermediates_only:
            raise ValueError("stop_early=True needs intermediates_only=True")
        modules = self._feature_modules(indices)
        maps: list[Tensor] = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if f"features.{i}" in modules:
                maps.append(x)
            if stop_early and len(maps) == len(modules):
                break
        return maps if intermediates_only else (x, maps)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return timm's patterns that group the parameters by layer.

        The classifier, which no pattern matches, becomes timm's last group.

        Args:
            coarse: ignored: there is only one level of layers.
        """
        return {"stem": r"^features\.0\.", "blocks": r"^features\.(\d+)\."}

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier with an untrained one on the same device; 0 = none, as in timm."""
        check_options(num_classes=num_classes)
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
        """Initialise as torchvision does: convolutions N(0, 2 / fan-out), norms 1 and 0."""
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def _feature_modules(self, indices: int | Sequence[int] | None) -> set[str]:
        """Return the names of the layers that output the maps `indices`."""
        count = len(self.feature_info)
        if indices is None:
            indices = count
        if isinstance(indices, int):
            check_ints(1, indices=indices)
            indices = range(-indices, 0)
        for i in indices:
            if not -count <= i < count:
                raise ValueError(f"map {i} does not exist: there are {count} maps")
        return {self.feature_info[i]["module"] for i in indices}


def resolve_strides(strides: StridePreset | Sequence[int], published: Sequence[int]) -> list[int]:
    """Return the stem's stride, then one for each block (V1) or stage (V2).

    Args:
        strides: "imagenet" = `published`; "cifar" = for 32 x 32 images: the stem and the first
            block or stage with a stride above 1 get 1, so that the last map is 4 x 4; or the
            strides themselves, as many as `published`.
        published: the strides of the paper.

    For V2 "cifar" means 1, then 1 1 2 2 1 2 1 for the stages: the strides of
    kuangliu/pytorch-cifar, chenyaofo/pytorch-cifar-models, huyvnphan/PyTorch_CIFAR10 and
    zeiss-microscopy/BSConv. For V1 it means 1, then 64: 1, 128: 1 1, 256: 2 1, 512: 2 1 1 1 1 1,
    1024: 2 1, which are BSConv's. kuangliu's V1 has one more stride of 2 and a last map of 2 x 2.
    At equal multiply-adds the larger map needs a quarter of the parameters: on CIFAR-10, BSConv's
    README reports 92.44 % for width 0.5 (47 M MACs, 0.82 M parameters), and kuangliu's issue #112
    reports 92.35 % for width 1.0 (46 M MACs, 3.2 M parameters).

    Raises:
        ValueError: an unknown preset, the wrong number of strides, or a product above 32.
    """
    if isinstance(strides, str) or not isinstance(strides, Sequence):
        check_choice("strides", strides, get_args(StridePreset))
    resolved = list(published if isinstance(strides, str) else strides)
    if strides == "cifar":
        for i in [i for i, stride in enumerate(published) if stride > 1][:2]:
            resolved[i] = 1
    if len(resolved) != len(published):
        raise ValueError(
            f"strides={resolved} has {len(resolved)} numbers, but this net takes "
            f'{len(published)}, the stem\'s first: give as many, or "imagenet" or "cifar"'
        )
    for stride in resolved:
        check_ints(1, strides=stride)
    if math.prod(resolved) > MAX_STRIDE:
        raise ValueError(
            f"the product of strides={resolved} is {math.prod(resolved)}, but these nets allow at "
            f"most {MAX_STRIDE}: set more of them to 1"
        )
    return resolved


def dilate(strides: Sequence[int], output_stride: int) -> list[tuple[int, int]]:
    """Return the (stride, dilation) of each layer that keep the last map at `output_stride`.

    A layer whose stride would exceed it gets stride 1, and the layers after it are dilated by the
    stride it had. Their kernels then cover the same pixels, so trained weights still fit. This is
    the rule of TF-slim and timm.
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
    """Return `feature_info`: the last layer at each resolution.

    Args:
        channels: output channels of each layer of `features`, the stem's first.
        strides: their strides before dilation: a dilated net has as many maps as a plain one.
        plan: their (stride, dilation).
    """
    info, reduction = [], 1
    for i, (stride, _) in enumerate(plan):
        reduction *= stride
        if i + 1 == len(strides) or strides[i + 1] > 1:
            info.append({"num_chs": channels[i], "reduction": reduction, "module": f"features.{i}"})
    return info
