"""The tables of the two papers, with the options that rebuild each of their nets.

References: V1 = arXiv 1704.04861 ("MobileNets"), V2 = arXiv 1801.04381 ("MobileNetV2").
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """One row of a table, with the digits that the paper prints.

    `create_model(model, **options)` rebuilds the net; the nets of other papers have model None.
    """

    label: str
    params: float  # millions
    macs: float  # millions
    top1: float  # % on ImageNet
    resolution: int | None = 224  # pixels; None = not stated
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def _v1(
    label: str, params: float, macs: float, top1: float, resolution: int = 224, **options: Any
) -> Published:
    options = {"width_mult": 1.0, **options}
    return Published(label, params, macs, top1, resolution, "mobilenet_v1", options)


def _v2(width_mult: float, params: float, macs: float, top1: float) -> Published:
    label, options = f"MobileNetV2 {width_mult}", {"width_mult": width_mult}
    return Published(label, params, macs, top1, 224, "mobilenet_v2", options)


PAPERS = {"v1": "arXiv 1704.04861", "v2": "arXiv 1801.04381"}

# (label, parameters in millions, multiply-adds in millions, ImageNet top-1 in %), as printed.
TABLES: dict[str, tuple[Published, ...]] = {
    "v1-table-4": (  # depthwise separable against full convolutions
        _v1("Conv MobileNet", 29.3, 4866, 71.7, conv="full"),  # 4866.3 without the classifier
        _v1("MobileNet", 4.2, 569, 70.6),
    ),
    "v1-table-5": (  # narrow against shallow
        _v1("0.75 MobileNet", 2.6, 325, 68.4, width_mult=0.75),
        _v1("Shallow MobileNet", 2.9, 307, 65.3, shallow=True),
    ),
    "v1-table-6": (  # width multipliers
        _v1("1.0 MobileNet-224", 4.2, 569, 70.6),
        _v1("0.75 MobileNet-224", 2.6, 325, 68.4, width_mult=0.75),
        _v1("0.5 MobileNet-224", 1.3, 149, 63.7, width_mult=0.5),
        _v1("0.25 MobileNet-224", 0.5, 41, 50.6, width_mult=0.25),
    ),
    "v1-table-7": (  # resolutions
        _v1("1.0 MobileNet-224", 4.2, 569, 70.6),
        _v1("1.0 MobileNet-192", 4.2, 418, 69.1, 192),
        _v1("1.0 MobileNet-160", 4.2, 290, 67.2, 160),
        _v1("1.0 MobileNet-128", 4.2, 186, 64.4, 128),
    ),
    "v1-table-8": (  # against popular nets
        _v1("1.0 MobileNet-224", 4.2, 569, 70.6),
        Published("GoogleNet", 6.8, 1550, 69.8),
        Published("VGG 16", 138, 15300, 71.5),
    ),
    "v1-table-9": (  # the smaller net against popular nets
        _v1("0.50 MobileNet-160", 1.32, 76, 60.2, 160, width_mult=0.5),
        Published("Squeezenet", 1.25, 1700, 57.5, None),
        Published("AlexNet", 60, 720, 57.2, None),
    ),
    "v2-table-4": (  # ImageNet; it prints 575 for MobileNetV1, the V1 paper 569
        _v1("MobileNetV1", 4.2, 575, 70.6),
        Published("ShuffleNet (1.5)", 3.4, 292, 71.5),
        Published("ShuffleNet (x2)", 5.4, 524, 73.7),
        Published("NasNet-A", 5.3, 564, 74.0),
        _v2(1.0, 3.4, 300, 72.0),
        _v2(1.4, 6.9, 585, 74.7),  # no implementation has 6.9: TF-slim's has 6.06 without norms
    ),
}

# ImageNet top-1 in % of the checkpoints that the authors published (float, one crop), by width
# multiplier and resolution. The papers' tables have only a few of these nets.
# Reference: github.com/tensorflow/models, research/slim/nets.
ZOO_RESOLUTIONS = (224, 192, 160, 128, 96)
ZOO: dict[str, tuple[str, dict[float, tuple[float, ...]]]] = {
    "mobilenet_v1": (
        "tensorflow/models slim/nets/mobilenet_v1.md",
        {
            1.0: (70.9, 70.0, 68.0, 65.2),
            0.75: (68.4, 67.2, 65.3, 62.1),
            0.5: (63.3, 61.7, 59.1, 56.3),
            0.25: (49.8, 47.7, 45.5, 41.5),
        },
    ),
    "mobilenet_v2": (
        "tensorflow/models slim/nets/mobilenet/README.md",
        {
            1.4: (75.0,),
            1.3: (74.4,),
            1.0: (71.8, 70.7, 68.8, 65.3, 60.3),
            0.75: (69.8, 68.7, 66.4, 63.2, 58.8),
            0.5: (65.4, 63.9, 61.0, 57.7, 51.2),
            0.35: (60.3, 58.2, 55.7, 50.8, 45.5),
        },
    ),
}


def find_top1(model: str, width: float, resolution: int) -> tuple[float, str] | tuple[None, None]:
    """Return (ImageNet top-1 in %, source) that the authors published for a net, or (None, None).

    `ZOO` comes first, so that widths and resolutions compare, then the papers' tables.
    """
    source, widths = ZOO.get(model, ("", {}))
    top1 = dict(zip(ZOO_RESOLUTIONS, widths.get(width, ()), strict=False))
    if resolution in top1:
        return top1[resolution], source
    table, row = find_published(model, resolution, {"width_mult": width})
    if row is None or table is None:
        return None, None
    paper, _, number = table.partition("-table-")
    return row.top1, f"{PAPERS[paper]} Table {number}"


def find_published(
    model: str, resolution: int, options: dict[str, Any]
) -> tuple[str, Published] | tuple[None, None]:
    """Return (table, row) of the first table with this net and resolution, or (None, None)."""
    for table, rows in TABLES.items():
        for row in rows:
            if (row.model, row.resolution, row.options) == (model, resolution, options):
                return table, row
    return None, None
