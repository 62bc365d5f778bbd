import pytest
import torch
import torch.nn.functional as F

from mobilenets.data.augment import BatchAugment, Mixing


def augment(crop_padding=0, flip=0.0, erasing=0.0, seed=0):
    return BatchAugment(
        crop_padding=crop_padding, flip=flip, erasing=erasing, fill=[1, 2, 3], seed=seed
    )


def pictures(num=64, size=12):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(10, 256, (num, 3, size, size), generator=generator, dtype=torch.uint8)


INDICES = torch.arange(64)


def test_every_crop_is_a_window_of_the_padded_image_or_of_its_mirror_image():
    images = pictures()
    result = augment(crop_padding=2, flip=0.5)(images, INDICES, 0)
    found = []
    for image, cropped in zip(images, result, strict=True):
        padded = F.pad(image, [2] * 4)
        windows = {
            (mirrored, top, left): source[:, top : top + 12, left : left + 12]
            for mirrored, source in enumerate((padded, padded.flip(2)))
            for top in range(5)
            for left in range(5)
        }
        found += [place for place, window in windows.items() if torch.equal(window, cropped)]
    assert len(found) == 64
    mirrored, top, left = zip(*found, strict=True)
    assert set(top) == set(left) == {0, 1, 2, 3, 4}
    assert 20 < sum(mirrored) < 44


def test_flip_alone_and_nothing_at_all():
    images = pictures()
    assert torch.equal(augment(flip=1.0)(images, INDICES, 0), images.flip(3))
    assert torch.equal(augment()(images, INDICES, 0), images)


def test_erasing_fills_a_square_with_the_mean_colour():
    images = pictures(2000)
    result = augment(erasing=0.3)(images, torch.arange(2000), 0)
    erased = (result == torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]).all(1)
    assert torch.equal(torch.where(erased[:, None], images, result), images)
    assert 0.25 < erased.flatten(1).any(1).float().mean() < 0.35
    for mask in erased[:100]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)  # a rectangle
        assert rows.sum() <= 6 and columns.sum() <= 6
    assert (erased.sum((1, 2)) == 36).any()  # some lie wholly inside
    middle = erased[:, 6, 6].float().mean()
    assert middle > 1.5 * erased[:, 0, 0].float().mean()  # corners are covered less often


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    images = pictures()
    everything = augment(2, 0.5, 0.5)
    first = everything(images, INDICES, 3)
    torch.rand(5)
    assert torch.equal(everything(images, INDICES, 3), first)
    assert torch.equal(augment(2, 0.5, 0.5)(images[[9, 4]], torch.tensor([9, 4]), 3), first[[9, 4]])
    assert not torch.equal(everything(images, INDICES, 4), first)
    assert not torch.equal(augment(2, 0.5, 0.5, seed=1)(images, INDICES, 3), first)


def test_memory_format_does_not_matter_and_is_kept():
    images = pictures()
    channels_last = images.to(memory_format=torch.channels_last)
    everything = augment(2, 0.5, 0.5)
    result = everything(channels_last, INDICES, 0)
    assert torch.equal(result, everything(images, INDICES, 0))
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the CPU with a GPU")
def test_a_gpu_augments_like_the_cpu():
    images, everything = pictures(), augment(2, 0.5, 0.5)
    on_gpu = everything(images.cuda(), INDICES.cuda(), 5)
    assert torch.equal(on_gpu.cpu(), everything(images, INDICES, 5))


def mix(mixup, cutmix, seed):
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    torch.manual_seed(seed)
    return Mixing(mixup, cutmix, num_classes=5)(images, torch.tensor([0, 1, 2, 4]))


def test_mixing_turned_off_gives_one_hot_labels():
    images, labels = mix(0, 0, 0)
    assert not Mixing(0, 0, 5)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert labels.argmax(1).tolist() == [0, 1, 2, 4] and labels.sum() == 4


def test_mixup_blends_and_the_labels_say_how_much():
    images, labels = mix(0.8, 0, 1)
    share = labels[1, 1]
    assert 0 < share < 1 and labels.shape == (4, 5)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    torch.testing.assert_close(images[1], torch.full((3, 8, 8), 1.0) * share)  # the rest is image 0
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_cutmix_pastes_and_the_labels_say_how_much():
    images, labels = mix(0, 1.0, 1)
    assert set(images[1].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(labels[1, 1], images[1].mean())


def test_both_take_turns_and_the_global_generator_decides():
    kinds = [len(mix(0.8, 1.0, seed)[0][1].unique()) for seed in range(40)]
    assert 8 < sum(kind == 1 for kind in kinds) < 34  # mixup leaves one value, cutmix mostly two
    for seed in range(4):
        for first, again in zip(mix(0.8, 1.0, seed), mix(0.8, 1.0, seed), strict=True):
            assert torch.equal(first, again)
