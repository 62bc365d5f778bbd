import multiprocessing
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from mobilenets.data import datamodule
from mobilenets.data.datamodule import IN_FILES, IN_MEMORY
from mobilenets.data.decode import ImageFileError
from mobilenets.data.folder import find_trees
from mobilenets.data.memory import RawSplit

# Python 3.12 warns of every fork of a process with threads; torch of more workers than cores.
workers = pytest.mark.filterwarnings(
    "ignore:.*use of fork:DeprecationWarning", "ignore:This DataLoader will create"
)


def run_epoch(data, loader, epoch=0):
    """Return the batches of an epoch, prepared as Lightning does."""
    loader.sampler.set_epoch(epoch)
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def batches_equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.indices, b.indices)
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def fake(make_data):
    def make(**options):
        return make_data("fake", **{"num_samples": 90, "num_classes": 3, **options})

    return make


def test_every_source_is_in_the_dicts():
    assert IN_MEMORY.keys() >= {"digits", "cifar10", "cifar100", "fake"}
    assert IN_FILES.keys() >= {"folder", "imagenet"}
    assert IN_MEMORY.keys().isdisjoint(IN_FILES)


def test_a_new_set_in_memory_needs_one_line_in_the_dict(make_data, monkeypatch):
    def read_stripes(*, count, class_names):
        images = torch.zeros(count, 1, 20, 20, dtype=torch.uint8)
        images[: count // 2, :, ::4], images[count // 2 :, :, :, ::4] = 255, 255
        labels = torch.arange(count) // (count // 2)
        return {"train": RawSplit(images, labels)}, class_names or ["rows", "columns"]

    monkeypatch.setitem(IN_MEMORY, "stripes", read_stripes)
    data = make_data("stripes", count=40, test_fraction=0.2)
    assert data.class_names == ["rows", "columns"]
    assert data.sizes == {"train": 24, "val": 8, "test": 8}
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert run_epoch(data, loader)[0].images.shape == (8, 3, 16, 16)


def test_a_new_set_in_files_needs_one_line_in_the_dict(make_data, monkeypatch, tree):
    def find_daisies(*, root):
        trees, notes = find_trees(root)
        trees["train"].paths["weed"] = trees["train"].paths.pop("rose")
        return trees, notes

    monkeypatch.setitem(IN_FILES, "daisies", find_daisies)
    data = make_data("daisies", root=str(tree), test_fraction=0.2)
    assert data.class_names == ["daisy", "tulip", "weed"]
    assert sum(data.sizes.values()) == 36
    assert run_epoch(data, data.train_dataloader())[0].images.shape == (8, 3, 16, 16)


def test_digits_with_the_settings_of_the_default_run(make_data):
    data = make_data("digits", in_channels=1, image_size=32, val_fraction=0.1, test_fraction=0.2)
    assert data.sizes == {"train": 1259, "val": 179, "test": 359}
    assert data.num_classes == 10 and data.class_names == list("0123456789")
    batch = run_epoch(data, data.train_dataloader())[0]
    assert batch.images.shape == (8, 1, 32, 32) and batch.images.dtype == torch.float32
    assert data.preprocessing == {
        "image_size": 32,
        "in_channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }


def test_splits_do_not_depend_on_the_seed_of_the_run(fake):
    def val(**seeds):
        data = fake(**seeds)
        return torch.cat([b.images for b in run_epoch(data, data.val_dataloader())])

    assert torch.equal(val(seed=0), val(seed=1))
    assert not torch.equal(val(split_seed=0), val(split_seed=1))


def test_order_and_augmentation_are_functions_of_seed_and_epoch(fake):
    data, again, other = fake(), fake(), fake(seed=1)
    first = run_epoch(data, data.train_dataloader(), 1)
    assert batches_equal(first, run_epoch(again, again.train_dataloader(), 1))
    assert not batches_equal(first, run_epoch(data, data.train_dataloader(), 2))
    assert not batches_equal(first, run_epoch(other, other.train_dataloader(), 1))


def samples(batches):
    return {
        index: image
        for batch in batches
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True)
    }


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_a_sample_is_augmented_alike_in_any_batch(kind, fake, make_data, tree):
    def run(batch_size):
        options = {"batch_size": batch_size, "val_fraction": 0.0}
        data = (
            fake(**options)
            if kind == "memory"
            else make_data("folder", root=str(tree), test_fraction=0.0, **options)
        )
        return samples(run_epoch(data, data.train_dataloader(), 5))

    large, small = run(30), run(2)
    assert len(large) == 30 * (len(small) // 30)
    assert all(torch.equal(large[index], small[index]) for index in large)


def test_training_batches_are_augmented_and_evaluation_batches_are_not(fake):
    data = fake()
    raw = samples(run_epoch(data, data.eval_dataloader("train")))
    augmented = samples(run_epoch(data, data.train_dataloader()))
    assert len(raw) == data.sizes["train"] and list(raw) == sorted(raw)
    changed = sum(not torch.equal(augmented[index], raw[index]) for index in augmented)
    assert changed > 0.9 * len(augmented)


def test_batches_are_normalised_and_in_channels_last(fake):
    data = fake()
    batch = next(iter(data.val_dataloader()))
    result = data.on_after_batch_transfer(batch, 0)
    assert batch.images.dtype == torch.uint8 and batch.epoch == -1
    torch.testing.assert_close(result.images, (batch.images / 255 - 0.5) / 0.25)
    assert result.images.is_contiguous(memory_format=torch.channels_last)
    assert result.labels is batch.labels


def test_on_a_gpu_every_batch_is_made_there(fake, monkeypatch):
    data, gpu = fake(), torch.device("cuda", 0)
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=gpu))
    properties = SimpleNamespace(total_memory=2**30)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda indices: indices)  # needs a real GPU
    with FakeTensorMode(allow_non_fake_inputs=True):  # refuses to mix devices or to wait for one
        for loader in (data.train_dataloader(), data.test_dataloader()):
            assert not loader.pin_memory
            batch = loader.dataset[next(iter(loader.sampler))]
            result = data.on_after_batch_transfer(batch, 0)
            assert all(tensor.device == gpu for tensor in (*batch[:3], *result[:3]))
            assert result.images.dtype == torch.float32
    assert data.splits["train"].images is data.splits["val"].images


def test_evaluation_covers_every_sample_with_a_ragged_last_batch(fake):
    data = fake()
    batches = list(data.test_dataloader())
    assert [len(batch.labels) for batch in batches] == [8, 8, 6] and data.sizes["test"] == 22
    assert torch.cat([b.indices for b in batches]).tolist() == list(range(22))


def test_less_than_one_batch_is_an_error_in_training_only(fake):
    data = fake(batch_size=1000)
    with pytest.raises(ValueError, match="train split has 72 images, fewer than a batch of 1000"):
        data.train_dataloader()
    assert [len(b.labels) for b in data.eval_dataloader("train")] == [72]
    assert len(fake(batch_size=72).train_dataloader()) == 1


def test_iterating_leaves_the_global_generator_alone(fake):
    data = fake()
    before = torch.get_rng_state()
    run_epoch(data, data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_share_the_global_batches(fake, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    ranks = []
    for rank in (0, 1):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        data = fake(batch_size=4)
        ranks.append((run_epoch(data, data.train_dataloader()), list(data.test_dataloader())))
    monkeypatch.undo()
    data = fake(batch_size=8)
    alone = run_epoch(data, data.train_dataloader())
    for whole, left, right in zip(alone, ranks[0][0], ranks[1][0], strict=True):
        assert torch.equal(whole.images, torch.cat([left.images, right.images]))
    seen = [index for _, test in ranks for batch in test for index in batch.indices.tolist()]
    assert sorted(seen) == list(range(22))


def test_fewer_images_than_processes_is_an_error(fake, monkeypatch):
    data = fake()
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 50)
    with pytest.raises(ValueError, match=r"val split has 18 images for 50 process.*fewer devices"):
        data.val_dataloader()


@workers
def test_the_number_of_workers_changes_nothing(make_data, tree):
    runs = []
    for num_workers in (0, 1, 2):
        data = make_data("folder", root=str(tree), test_fraction=0.2, num_workers=num_workers)
        loader = data.train_dataloader()
        runs.append([b for epoch in (0, 1) for b in run_epoch(data, loader, epoch)])
        runs[-1] += run_epoch(data, data.test_dataloader())
    assert batches_equal(runs[0], runs[1]) and batches_equal(runs[0], runs[2])
    assert not batches_equal(runs[0][:2], runs[0][2:4])


@workers
def test_validation_workers_start_before_training(make_data, tree):
    """A fork in mid-training would copy gigabytes."""
    data = make_data("folder", root=str(tree), test_fraction=0.2, num_workers=2)
    before = set(multiprocessing.active_children())
    train = iter(data.train_dataloader())
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 4
    next(train)
    for _ in range(2):
        images = [batch.images for batch in data.val_dataloader()]
        expected = [batch.images for batch in data.eval_dataloader("val")]
        assert len(images) == len(expected) > 0
        assert all(map(torch.equal, images, expected))
    assert workers <= set(multiprocessing.active_children())


@workers
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_one_sentence(make_data, tree, num_workers):
    (tree / "rose" / "003.jpg").write_bytes(b"not a picture")
    data = make_data("folder", root=str(tree), test_fraction=0.0, num_workers=num_workers)
    with pytest.raises(ImageFileError) as error:
        list(data.eval_dataloader("train"))
    assert str(error.value).startswith(f"{tree / 'rose' / '003.jpg'} can't be read as an image")
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


@workers
def test_which_images_are_skipped_does_not_depend_on_the_workers(make_data, tree):
    for name in ("daisy/001.jpg", "rose/003.jpg", "tulip/013.jpg"):
        (tree / name).write_bytes(b"not a picture")
    runs = []
    for num_workers in (0, 1, 2):
        options = {"num_workers": num_workers, "batch_size": 4, "on_bad_image": "skip"}
        data = make_data("folder", root=str(tree), test_fraction=0.2, **options)
        batches = run_epoch(data, data.train_dataloader(), 1) + list(data.test_dataloader())
        runs.append([(batch.indices.tolist(), batch.skipped) for batch in batches])
    assert runs[0] == runs[1] == runs[2]
    assert 1 <= sum(len(skipped) for _, skipped in runs[0]) <= 3


def test_folder_without_splits(make_data, tree):
    data = make_data("folder", root=str(tree), test_fraction=0.2, val_fraction=0.1)
    assert data.sizes == {"train": 26, "val": 3, "test": 7}
    assert data.class_names == ["daisy", "rose", "tulip"] and len(data.notes) == 1
    names = {data.sample_name(s, i) for s, size in data.sizes.items() for i in range(size)}
    assert len(names) == 36 and str(tree / "rose" / "003.jpg") in names


def test_folder_keeps_its_split_when_it_moves(make_data, tree):
    def test_names():
        data = make_data("folder", root=str(tree), test_fraction=0.2)
        return [data.sample_name("test", i)[len(str(tree)) :] for i in range(data.sizes["test"])]

    before = test_names()
    tree = tree.rename(tree.parent / "moved")
    assert test_names() == before


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_val_is_the_test_set_if_there_is_no_other(make_data, tmp_path, write_images, name):
    for letter in "ab":
        write_images(tmp_path / "train" / letter, 10)
        write_images(tmp_path / "val" / letter, 3)
    data = make_data(name, root=str(tmp_path))
    assert data.sizes == {"train": 16, "val": 4, "test": 6}
    assert data.sample_name("test", 0) == str(tmp_path / "val" / "a" / "000.jpg")
    assert "serves as the test set" in data.notes[0]
    assert len(data.notes) == 1


def test_grey_files(make_data, tree):
    data = make_data("folder", root=str(tree), test_fraction=0.2, in_channels=1)
    assert next(iter(data.train_dataloader())).images.shape == (8, 1, 16, 16)


def test_cifar_is_read_by_its_options(make_data, tmp_path):
    for name in ("train", "test"):
        pixels = np.zeros((100, 3072), np.uint8)
        batch = {"data": pixels, "fine_labels": list(range(100))}
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    names = [f"kind {index}" for index in range(100)]
    options = {"root": str(tmp_path), "download": False, "verify": False, "class_names": names}
    data = make_data("cifar100", **options)
    assert data.sizes == {"train": 100, "val": 0, "test": 100} and data.class_names == names


def test_no_validation_set(fake):
    data = fake(val_fraction=0.0)
    assert data.sizes["val"] == 0 and data.val_dataloader() == []
    with pytest.raises(ValueError, match=r"the val split has 0 images .*data.val_fraction"):
        data.eval_dataloader("val")


def test_setup_runs_once(fake):
    data = fake()
    splits = data.splits
    data.setup("fit")
    assert data.splits is splits


def test_names_of_samples_in_memory(fake):
    assert fake().sample_name("test", 17) == "test[17]"


@pytest.mark.parametrize(("allotted", "workers"), [(3, 3), (64, 8)])
def test_null_workers_means_one_per_cpu_and_sets_in_memory_use_none(
    make_data, fake, tree, monkeypatch, allotted, workers
):
    monkeypatch.setattr(datamodule, "num_cpus", lambda: allotted)
    data = make_data("folder", root=str(tree), test_fraction=0.2, num_workers=None)
    assert data.num_workers == workers
    assert fake(num_workers=4).num_workers == fake(num_workers=None).num_workers == 0
    assert fake(num_workers=4).train_dataloader().num_workers == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.1, 0.2]}, "data.mean has 2 values"),
        ({"class_names": ["a", "b"]}, "data.class_names has 2 names, the data 3 classes"),
        ({"class_names": ["a", "b", "a"]}, "data.class_names has 'a' twice"),
        ({"val_fraction": 1.0}, "add up to less than 1"),
    ],
)
def test_wrong_options_are_reported_by_name(fake, options, message):
    with pytest.raises(ValueError, match=message):
        fake(**options)


def test_an_unknown_set_suggests_the_nearest(make_data):
    with pytest.raises(ValueError, match=r"data 'cifar' is unknown; did you mean cifar10\?"):
        make_data("cifar")


def test_an_unknown_split_lists_the_choices(fake):
    with pytest.raises(ValueError, match=r"split 'dev' is unknown; .*Choices: train, val, test"):
        fake().eval_dataloader("dev")


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning"
)
def test_lightning_sets_the_epoch_and_calls_the_hook(fake, make_trainer):
    import pytorch_lightning as pl

    class Recorder(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append(batch)
            return batch.images.mean() * self.weight

        def validation_step(self, batch, batch_idx):
            assert batch.epoch == -1 and batch.images.dtype == torch.float32

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data, net = fake(batch_size=24), Recorder()
    make_trainer(max_epochs=2, enable_checkpointing=False).fit(net, datamodule=data)
    assert [batch.epoch for batch in net.seen] == [0, 0, 0, 1, 1, 1]
    loader = fake(batch_size=24).train_dataloader()
    assert batches_equal(net.seen, run_epoch(data, loader, 0) + run_epoch(data, loader, 1))
