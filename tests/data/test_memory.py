from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from mobilenets.data.memory import (
    MemorySet,
    RawSplit,
    check_class_names,
    has_room,
    move_to_device,
    prepare,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

PRE = {"image_size": 8, "in_channels": 3, "crop_pct": 1.0, "interpolation": "nearest"}


def raw(num=10, channels=3, size=8):
    pixels = torch.arange(num * channels * size * size) % 251
    images = pixels.view(num, channels, size, size).to(torch.uint8)
    return RawSplit(images, torch.arange(num) % 3)


def test_a_batch_is_a_gather():
    source = raw()
    batch = prepare(source, PRE)[(2, np.array([7, 0, 7]))]
    assert torch.equal(batch.images, source.images[[7, 0, 7]])
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.indices.tolist() == [7, 0, 7]
    assert batch.epoch == 2


def test_a_subset_renumbers_its_samples_and_shares_their_memory():
    source = raw()
    whole = prepare(source, PRE)
    part = whole.subset(np.array([1, 4, 8])).subset(np.array([0, 2]))
    batch = part[(-1, np.array([1]))]
    assert len(part) == 2 and part.keys() == ["1", "8"]
    assert torch.equal(batch.images, source.images[[8]])
    assert batch.labels.tolist() == [2] and batch.indices.tolist() == [1]
    assert part.images.data_ptr() == whole.images.data_ptr()
    assert part.sample_name("val", 1) == "val[1]"


@pytest.fixture
def gpu(monkeypatch):
    """gpu(size) makes the GPU report `size` bytes of memory."""

    def claim(size):
        def properties(device):
            assert device == GPU
            return SimpleNamespace(total_memory=size)

        monkeypatch.setattr("torch.cuda.get_device_properties", properties)

    return claim


def test_a_gpu_has_room_for_a_quarter_of_its_memory(gpu):
    gpu(4000)
    assert has_room(GPU, 1000) and not has_room(GPU, 1001)
    assert not has_room(CPU, 1) and not has_room(torch.device("mps"), 1)


def test_sets_on_a_gpu_gather_there_and_share_their_images(gpu, monkeypatch):
    whole = prepare(raw(), PRE)
    size = whole.images.nbytes
    parts = [whole.subset(np.arange(6)), whole.subset(np.arange(6, 10)), prepare(raw(), PRE)]
    gpu(4 * 2 * size)  # room for the two tensors, not for three
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda indices: indices)  # needs a real GPU
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_to_device(parts, GPU)
        batch = parts[0][(3, np.array([5, 0]))]
    assert parts[0].images is parts[1].images and parts[2].images is not parts[0].images
    for tensor in (*batch[:3], *(part.images for part in parts)):
        assert tensor.device == GPU
    assert batch.images.shape == (2, 3, 8, 8) and batch.epoch == 3


def test_without_room_a_set_stays_where_it_is(gpu):
    whole = prepare(raw(), PRE)
    images = whole.images
    gpu(4 * images.nbytes - 1)
    move_to_device([whole], GPU)
    assert whole.images is images
    move_to_device([whole], CPU)
    assert whole.images is images


def test_images_are_resized_and_recoloured_once():
    prepared = prepare(raw(2500, channels=1), PRE | {"image_size": 16})
    batch = prepared[(-1, np.array([2499]))]
    enlarged = raw(2500, channels=1).images[2499].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(batch.images[0], enlarged.expand(3, -1, -1))


def test_crop_pct_zooms_in():
    prepared = prepare(raw(1, size=16), PRE | {"image_size": 8, "crop_pct": 0.5})
    assert torch.equal(
        prepared[(-1, np.array([0]))].images, raw(1, size=16).images[..., 4:12, 4:12]
    )


def test_an_empty_subset_is_allowed():
    assert len(prepare(raw(), PRE).subset(np.array([], dtype=np.int64))) == 0
    assert isinstance(prepare(raw(), PRE), MemorySet)


def test_class_names_in_the_config_replace_those_of_the_set():
    assert check_class_names(["0", "1"], None) == ["0", "1"]
    assert check_class_names(["0", "1"], ["zero", "one"]) == ["zero", "one"]
    with pytest.raises(ValueError, match=r"data.class_names has 1 names, the data 2 classes: give"):
        check_class_names(["0", "1"], ["zero"])
