"""scikit-learn's digits: 1797 real scans of handwritten digits, 8x8 pixels, bundled with it."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from mobilenets.data.memory import RawSplit, check_class_names


def read_digits(*, class_names: Sequence[str] | None) -> tuple[dict[str, RawSplit], list[str]]:
    """Read the scans, their 17 grey levels spread over 0..255; the set has no split of its own.

    Reference: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    package = find_spec("sklearn")  # found, not imported, which takes a second
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "datasets/data/digits.csv.gz"
    rows = torch.from_numpy(np.loadtxt(file, delimiter=","))  # 64 grey levels and the digit
    images = rows[:, :-1].reshape(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8)
    splits = {"train": RawSplit(images, rows[:, -1].long())}
    return splits, check_class_names([str(digit) for digit in range(10)], class_names)
