from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F2

from mobilenets.data.augment import BatchAugment, Mixing
from mobilenets.data.randomness import draw_uniform


def augment(crop_padding=0, flip=0.0, erasing=0.0, color_jitter=0.0, seed=0, channels=3):
    return BatchAugment(
        flip=flip,
        crop_padding=crop_padding,
        color_jitter=color_jitter,
        erasing=erasing,
        fill=[1, 2, 3][:channels],
        seed=seed,
    )


def pictures(num=64, size=12, channels=3, low=10, high=256):
    generator = torch.Generator().manual_seed(0)
    shape = (num, channels, size, size)
    return torch.randint(low, high, shape, generator=generator, dtype=torch.uint8)


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


@pytest.mark.parametrize(("channels", "size"), [(3, 12), (1, 11)])
def test_each_draw_has_its_meaning(channels, size):
    images = pictures(size=size, channels=channels)
    result = augment(2, 0.4, 0.3, channels=channels)(images, INDICES, 7)
    fill = torch.tensor([1, 2, 3][:channels], dtype=torch.uint8)[:, None, None]
    changed = 0
    for image, found, draws in zip(images, result, draw_uniform(0, 7, INDICES, 6), strict=True):
        top, left = (int(draw * 5) for draw in draws[:2])
        expected = F.pad(image.flip(2) if draws[2] < 0.4 else image, [2] * 4)
        expected = expected[:, top : top + size, left : left + size].clone()
        if draws[3] < 0.3:
            first = [int(draw * size) - size // 4 for draw in draws[4:]]
            rows, columns = (slice(max(at, 0), max(at + size // 2, 0)) for at in first)
            expected[:, rows, columns] = fill
        assert torch.equal(found, expected)
        changed += not torch.equal(found, image)
    assert changed > 50


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


ADJUST = (F2.adjust_brightness, F2.adjust_contrast, F2.adjust_saturation)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("channels", [3, 1])
def test_colour_changes_as_torchvision_changes_it_in_any_order(channels, order):
    images = pictures(channels=channels, low=90, high=140)  # far from both ends: nothing is clipped
    result = augment(color_jitter=0.4)(images, INDICES, 2)
    draws = draw_uniform(0, 2, INDICES, 9)[:, 6:]
    for image, found, factors in zip(images, result, 0.6 + 0.8 * draws, strict=True):
        expected = image / 255
        for step in order:
            expected = ADJUST[step](expected, float(factors[step]))
        torch.testing.assert_close(found.float(), 255 * expected, rtol=0, atol=0.6)


def test_strength_of_colour_is_how_far_the_factors_go():
    plain = torch.full((4000, 3, 2, 2), 100, dtype=torch.uint8)  # brightness alone changes it
    indices = torch.arange(4000)
    weak = augment(color_jitter=0.2)(plain, indices, 0)
    assert (weak.min(), weak.max()) == (80, 120) and 99 < weak.float().mean() < 101
    strong = augment(color_jitter=3.0)(plain, indices, 0)
    assert (strong.min(), strong.max()) == (0, 255)  # up to 4 times as bright, and clipped


def test_colour_leaves_the_other_draws_alone_and_the_square_its_fill():
    images = pictures(300)
    indices = torch.arange(300)
    plain = augment(2, 0.5, 0.5)(images, indices, 0)
    colored = augment(2, 0.5, 0.5, 0.4)(images, indices, 0)
    fill = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]
    erased = (plain == fill).all(1, keepdim=True)
    assert erased.any() and torch.where(erased, colored == fill, True).all()
    black = (plain == 0).all(1, keepdim=True).expand_as(plain)  # from the padding
    assert black.any() and colored[black].float().mean() < colored[~black].float().mean() / 2


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    images = pictures()
    everything = augment(2, 0.5, 0.5, 0.4)
    first = everything(images, INDICES, 3)
    torch.rand(5)
    assert torch.equal(everything(images, INDICES, 3), first)
    again = augment(2, 0.5, 0.5, 0.4)
    assert torch.equal(again(images[[9, 4]], torch.tensor([9, 4]), 3), first[[9, 4]])
    assert not torch.equal(everything(images, INDICES, 4), first)
    assert not torch.equal(augment(2, 0.5, 0.5, 0.4, seed=1)(images, INDICES, 3), first)


def test_memory_format_does_not_matter_and_comes_out_as_channels_last():
    images = pictures()
    channels_last = images.to(memory_format=torch.channels_last)
    everything = augment(2, 0.5, 0.5, 0.4)
    result = everything(channels_last, INDICES, 0)
    assert torch.equal(result, everything(images, INDICES, 0))
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, pictures())  # what lies in memory stays as it is


def test_nothing_leaves_the_device_or_waits_for_it():
    with FakeTensorMode(allow_non_fake_inputs=True):  # refuses both, and needs no GPU
        result = augment(2, 0.5, 0.5, 0.4)(pictures().to("cuda"), INDICES.to("cuda"), 0)
        assert result.device.type == "cuda" and result.dtype == torch.uint8
        assert result.shape == (64, 3, 12, 12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the CPU with a GPU")
def test_a_gpu_augments_like_the_cpu():
    images, everything = pictures(), augment(2, 0.5, 0.5)
    on_gpu = everything(images.cuda(), INDICES.cuda(), 5)
    assert torch.equal(on_gpu.cpu(), everything(images, INDICES, 5))


def mix(mixup, cutmix, seed):
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    torch.manual_seed(seed)
    return Mixing(mixup, cutmix, num_classes=5)(images, torch.tensor([0, 1, 2, 4]))


@pytest.mark.parametrize(
    ("alphas", "methods"),
    [((0.8, 0), [v2.MixUp]), ((0, 1.0), [v2.CutMix]), ((0.3, 0.7), [v2.MixUp, v2.CutMix])],
)
def test_mixing_is_torchvisions_to_the_bit(alphas, methods):
    images = pictures().float().contiguous(memory_format=torch.channels_last)
    labels = INDICES % 5
    options = [alpha for alpha in alphas if alpha]
    theirs = [m(alpha=a, num_classes=5) for m, a in zip(methods, options, strict=True)]
    for seed in range(20):
        torch.manual_seed(seed)
        found = Mixing(*alphas, num_classes=5)(images, labels)
        torch.manual_seed(seed)
        chosen = int(torch.randint(2, ())) if len(theirs) == 2 else 0
        expected = theirs[chosen](images, labels)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


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
