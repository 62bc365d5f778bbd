import torch
from sklearn.datasets import load_digits

from mobilenets.data.digits import read_digits


def test_digits_are_scikit_learns_scans_on_the_full_scale():
    splits, names = read_digits(class_names=None)
    assert list(splits) == ["train"] and names == list("0123456789")
    images, labels = splits["train"]
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.uint8
    assert sorted(images.unique().tolist()) == [round(level * 255 / 16) for level in range(17)]
    assert labels.dtype == torch.int64 and torch.bincount(labels).min() > 170
    # The first scan, a zero, is dark in its middle and bright on its ring.
    assert labels[0] == 0 and images[0, 0, 3, 4] == 0 and images[0, 0, 1, 3] > 200


def test_digits_are_those_that_scikit_learn_itself_reads():
    theirs = load_digits()
    images, labels = read_digits(class_names=None)[0]["train"]
    scans = torch.from_numpy(theirs.images).mul(255 / 16).round().to(torch.uint8)
    assert torch.equal(images[:, 0], scans) and images.is_contiguous()
    assert torch.equal(labels, torch.from_numpy(theirs.target))


def test_digits_may_be_renamed():
    words = ["nought", *"123456789"]
    assert read_digits(class_names=words)[1] == words
