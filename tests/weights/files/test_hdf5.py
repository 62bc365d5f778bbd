"""HDF5 files are read within bounds, and without following links out of the file."""

import struct

import numpy as np
import pytest

from mobilenets.weights.files import limits, read_raw_weights

h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "net", "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file["conv1/conv1/kernel:0"] = np.ones((2, 3), dtype=np.float32)
    with h5py.File(tmp_path / "other", "w") as file:
        file["secret"] = np.ones(3)
    assert list(read_raw_weights(tmp_path / "net").tensors) == ["conv1/kernel"]
    return tmp_path / "net"


def soft_link(file):
    file["conv1/bias"] = h5py.SoftLink("/conv1/conv1/kernel:0")


def dangling_link(file):
    file["conv1/bias"] = h5py.SoftLink("/nowhere")


def external_link(file):
    file["conv1/bias"] = h5py.ExternalLink("other", "/secret")


def hard_link(file):
    file["conv1/bias"] = file["conv1/conv1/kernel:0"]


def circle(file):
    file["conv1/again"] = file["/"]


def external_dataset(file):
    file.create_dataset("conv1/bias", (3,), "f8", external=[("other", 0, 24)])


def virtual_dataset(file):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other", "secret", (3,))
    file.create_virtual_dataset("conv1/bias", layout)


def compressed_dataset(file):
    file.create_dataset("conv1/bias", data=np.zeros(10**6), compression="gzip")


def unwritten_dataset(file):
    file.create_dataset("conv1/bias", (1000,), "f4")


def null_dataset(file):
    file["conv1/bias"] = h5py.Empty("f4")


def huge_dataset(file):
    file.create_dataset("conv1/bias", (10**12,), "f4")


def text_dataset(file):
    file["conv1/bias"] = "text"


def list_of_configs(file):
    file.attrs["model_config"] = ["{}", "{}"]


def number_as_config(file):
    file.attrs["model_config"] = 3


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (soft_link, "has a link to somewhere else at 'conv1/bias', which Keras does not write"),
        (dangling_link, "has a link to somewhere else at 'conv1/bias'"),
        (external_link, "has a link to somewhere else at 'conv1/bias'"),
        (hard_link, "has the same object twice, once at 'conv1/"),
        (circle, "has the same object twice, once at 'conv1/again'"),
        (external_dataset, "takes 'conv1/bias' from another file"),
        (virtual_dataset, "takes 'conv1/bias' from another file"),
        (compressed_dataset, "has 'conv1/bias' compressed"),
        (unwritten_dataset, "has no values for 'conv1/bias'"),
        (null_dataset, "has no values for 'conv1/bias'"),
        (huge_dataset, r"would unpack to 4000\.0 GB; at most 2\.1 GB are read"),
        (text_dataset, "holds 'conv1/bias' as object, which is not read"),
        (list_of_configs, "has an attribute 'model_config' that is not one string"),
        (number_as_config, "has an attribute 'model_config' that is not one string"),
    ],
)
def test_values_that_are_not_in_the_file_are_rejected(spoil, sentence, path):
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(ValueError, match=f"^{path} {sentence}"):
        read_raw_weights(path)


def test_the_sum_of_all_data_sets_is_bounded(path, monkeypatch):
    with h5py.File(path, "a") as file:
        for i in range(5):
            file[f"optimizer_weights/{i}"] = np.ones(100)
    monkeypatch.setattr(limits, "MAX_BYTES", path.stat().st_size)
    read_raw_weights(path)
    with h5py.File(path, "a") as file:  # a data set of many more values than bytes
        file.create_dataset("many", (10**5,), "f4", chunks=(10,))
    monkeypatch.setattr(limits, "MAX_BYTES", path.stat().st_size)
    with pytest.raises(ValueError, match="net would unpack to"):
        read_raw_weights(path)


def test_the_number_of_objects_is_bounded(path, monkeypatch):
    with h5py.File(path, "a") as file:
        for i in range(30):
            file.create_group(f"group{i}")
    monkeypatch.setattr(limits, "MAX_MEMBERS", 20)
    with pytest.raises(ValueError, match=r"net holds \d+ HDF5 objects; at most 20 are read"):
        read_raw_weights(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_damaged(share, path):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        ValueError, match=r"net (can't be read \(OSError: |is a damaged HDF5).*get it again"
    ):
        read_raw_weights(path)


def test_a_heap_that_would_loop_the_library_for_ever_is_rejected(path):
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = "{}"
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    struct.pack_into("<Q", content, first + 8, content[first + 8] + 64)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net is a damaged HDF5 file \(a heap of strings does n"):
        read_raw_weights(path)
