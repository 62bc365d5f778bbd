"""scikit-learn's digits: 1797 real scans of handwritten digits, 8x8 pixels, bundled with it."""

from collections.abc import Sequence

import torch

from mobilenets.data.memory import Labelled, named


def read_digits(*, class_names: Sequence[str] | None) -> tuple[dict[str, Labelled], list[str]]:
    """Read the scans, their 17 grey levels spread over 0..255; the set has no split of its own.

    Reference: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)
    splits = {"train": Labelled(images[:, None], torch.from_numpy(digits.target).long())}
    return splits, named([str(digit) for digit in range(10)], class_names)
