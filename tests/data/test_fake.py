import pytest
import torch

from mobilenets.data.fake import make_fake


def test_images_are_always_the_same_and_in_equal_shares():
    splits, names = make_fake(num_samples=100, num_classes=5, class_names=None)
    again, _ = make_fake(num_samples=100, num_classes=5, class_names=None)
    assert names == [f"class {index}" for index in range(5)]
    assert {split: len(part.labels) for split, part in splits.items()} == {"train": 100, "test": 25}
    for split in splits:
        assert torch.equal(splits[split].images, again[split].images)
        assert splits[split].images.dtype == torch.uint8
        assert len(torch.bincount(splits[split].labels).unique()) == 1
    assert not torch.equal(splits["train"].images[:25], splits["test"].images)


def test_the_classes_can_be_learnt():
    splits, _ = make_fake(num_samples=200, num_classes=10, class_names=None)
    images, labels = splits["train"]
    means = torch.stack([images[labels == c].float().mean(0) for c in range(10)]).flatten(1)
    nearest = torch.cdist(splits["test"].images.float().flatten(1), means).argmin(1)
    assert (nearest == splits["test"].labels).float().mean() > 0.95


@pytest.mark.parametrize(("samples", "classes"), [(10, 1), (9, 5)])
def test_too_few_are_refused(samples, classes):
    with pytest.raises(ValueError, match=rf"data.num_samples={samples} .*at least 2 classes"):
        make_fake(num_samples=samples, num_classes=classes, class_names=None)
