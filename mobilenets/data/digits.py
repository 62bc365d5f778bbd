"""The digits that scikit-learn bundles: 1797 scans of handwritten digits, 8x8 pixels."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from mobilenets.data.memory import RawSplit, check_class_names


def read_digits(*, class_names: Sequence[str] | None) -> tuple[dict[str, RawSplit], list[str]]:
    """Read the scans, and scale their 17 grey levels to 0..255; all of them are "train".

    Reference: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    package = find_spec("sklearn")  # importing it would take a second
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets/data/digits.csv.gz"
    rows = torch.from_numpy(np.loadtxt(file, delimiter=","))  # 64 grey levels and a label
    images = rows[:, :-1].reshape(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
    splits = {"train": RawSplit(images, rows[:, -1].long())}
    return splits, check_class_names([str(digit) for digit in range(10)], class_names)
