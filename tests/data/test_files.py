import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mobilenets.data.decode import BadImageError, ImageFileError
from mobilenets.data.files import FileSet
from mobilenets.data.folder import list_images_strict
from mobilenets.data.transforms import eval_transform, train_transform
from tests.data.conftest import AUGMENT_FILES, SMALL_PREPROCESSING

AUGMENT = AUGMENT_FILES | {"policy": "trivialaugment"}


@pytest.fixture
def files(tree):
    return make(tree)


def make(tree, class_names=("daisy", "rose", "tulip"), seed=0, **options):
    return FileSet(
        list_images_strict(tree),
        class_names,
        in_channels=3,
        train_transform=train_transform(SMALL_PREPROCESSING, AUGMENT),
        eval_transform=eval_transform(SMALL_PREPROCESSING),
        seed=seed,
        **options,
    )


def test_a_batch_is_uint8_in_channels_last(files):
    batch = files[(0, np.array([35, 0, 10]))]
    assert batch.images.dtype == torch.uint8 and batch.images.shape == (3, 3, 16, 16)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.tolist() == [2, 0, 1] and batch.labels.dtype == torch.int64
    assert batch.indices.tolist() == [35, 0, 10] and batch.epoch == 0


def test_labels_follow_the_class_names(tree):
    swapped = make(tree, class_names=["tulip", "daisy", "rose"])
    assert swapped[(-1, np.array([0, 10, 22]))].labels.tolist() == [1, 2, 0]
    assert swapped.sample_name("train", 10) == str(tree / "rose" / "000.jpg")


def test_augmentation_is_a_function_of_seed_epoch_and_index(tree, files):
    key = (3, np.array([4, 9, 20]))
    first = files[key].images
    torch.rand(3)
    assert torch.equal(files[key].images, first)
    assert torch.equal(files[(3, np.array([20, 4]))].images, first[[2, 0]])
    assert not torch.equal(files[(4, key[1])].images, first)
    assert not torch.equal(make(tree, seed=1)[key].images, first)


# Python 3.12 warns of every fork of a process with threads; torch of more workers than cores.
@pytest.mark.filterwarnings(
    "ignore:.*use of fork:DeprecationWarning", "ignore:This DataLoader will create"
)
def test_any_number_of_workers_gives_the_same_from_reduced_files(tmp_path, picture):
    (tmp_path / "daisy").mkdir()
    for number in range(8):
        exif = Image.Exif()
        exif[0x0112] = number % 8 + 1
        large = picture(number, 400 + 10 * number, 300)
        large.save(tmp_path / "daisy" / f"{number}.jpg", exif=exif)
    files = make(tmp_path, class_names=["daisy"])
    keys = [(epoch, np.arange(start, 8, 2)) for epoch in (0, 1, -1) for start in (0, 1)]
    alone, spread = (
        list(DataLoader(files, sampler=keys, batch_size=None, num_workers=num_workers))
        for num_workers in (0, 2)
    )
    assert len(alone) == len(spread) == 6
    for one, other in zip(alone, spread, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.indices, other.indices)
        assert other.images.is_contiguous(memory_format=torch.channels_last)
        assert one.epoch == other.epoch


def test_augmentation_leaves_the_global_generator_alone(files):
    before = torch.get_rng_state()
    files[(0, np.array([1]))]
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_is_not_augmented(tree, files):
    key = (-1, np.array([5]))
    assert torch.equal(files[key].images, make(tree, seed=9)[key].images)


def test_a_subset_renumbers_its_samples(tree, files):
    part = files.subset(np.array([3, 30]))
    assert len(part) == 2 and part.keys() == ["daisy/003.jpg", "tulip/008.jpg"]
    batch = part[(-1, np.array([1]))]
    assert torch.equal(batch.images, files[(-1, np.array([30]))].images)
    assert batch.labels.tolist() == [2] and batch.indices.tolist() == [1]
    assert part.sample_name("val", 1) == str(tree / "tulip" / "008.jpg")
    assert len(files) == 36


def test_a_copy_for_a_spawned_worker_gives_the_same(files):
    key = (3, np.array([4, 9]))
    assert torch.equal(pickle.loads(pickle.dumps(files))[key].images, files[key].images)


def test_names_beyond_ascii(tmp_path, write_images):
    write_images(tmp_path / "grün", 1)
    write_images(tmp_path / "голубой", 1)
    files = make(tmp_path, class_names=["grün", "голубой"])
    assert files[(-1, np.array([0, 1]))].labels.tolist() == [0, 1]
    assert files.keys() == ["grün/000.jpg", "голубой/000.jpg"]


@pytest.fixture
def spoilt(tree):
    """The tree with two bad images, the second and the fourth of the first class."""
    (tree / "daisy" / "001.jpg").write_bytes(b"no picture")
    whole = (tree / "daisy" / "003.jpg").read_bytes()
    (tree / "daisy" / "003.jpg").write_bytes(whole[:300])
    return tree


@pytest.mark.parametrize("epoch", [-1, 5])
def test_bad_images_are_left_out_and_nothing_takes_their_place(spoilt, epoch):
    chosen = np.array([3, 0, 1, 12])
    with pytest.raises(BadImageError, match=r"daisy/003\.jpg can't be read as an image"):
        make(spoilt)[(epoch, chosen)]
    batch = make(spoilt, skip_bad=True)[(epoch, chosen)]
    assert (batch.indices.tolist(), batch.labels.tolist()) == ([0, 12], [0, 1])
    assert batch.images.shape == (2, 3, 16, 16)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    names = [sentence.split(" can't be read as an image (")[0] for sentence in batch.skipped]
    assert names == [str(spoilt / "daisy" / name) for name in ("003.jpg", "001.jpg")]
    good = make(spoilt)[(epoch, np.array([0, 12]))]
    assert torch.equal(batch.images, good.images) and good.skipped == ()


def test_a_batch_of_bad_images_is_empty_in_evaluation_and_an_error_in_training(spoilt):
    files = make(spoilt, skip_bad=True)
    batch = files[(-1, np.array([1, 3]))]
    assert batch.images.shape == (0, 3, 16, 16) and batch.images.dtype == torch.uint8
    assert (len(batch.labels), len(batch.indices), len(batch.skipped)) == (0, 0, 2)
    with pytest.raises(ImageFileError, match=r"all 2 images of a batch are bad: .*daisy/001\.jpg"):
        files[(0, np.array([1, 3]))]


def test_a_file_that_is_gone_is_not_skipped(spoilt):
    files = make(spoilt, skip_bad=True)
    (spoilt / "rose" / "000.jpg").unlink()
    with pytest.raises(ImageFileError, match=r"rose/000\.jpg can't be read \(no such file"):
        files[(0, np.array([0, 10]))]
