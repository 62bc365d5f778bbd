"""Arrays of an .npz are read as they are; objects are not unpickled."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from mobilenets.weights.files import read_raw_weights


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def write(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_names_with_slashes_values_and_types_stay(save, tmp_path):
    arrays = {
        "MobilenetV1/Conv2d_0/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4),
        "MobilenetV1/Conv2d_0/BatchNorm/beta": np.ones(3, dtype=np.float16),
        "MobilenetV1/Conv2d_0/weights/RMSProp": np.ones(3),
        "global_step": np.array(7, dtype=np.int64),
    }
    save(tmp_path / "net.npz", **arrays)
    stored = read_raw_weights(tmp_path / "net.npz")
    assert (stored.format, stored.content, stored.ignored) == ("NumPy", {}, [])
    assert list(stored.tensors) == list(arrays)
    for name, array in arrays.items():
        assert torch.equal(stored.tensors[name], torch.from_numpy(array))
        assert stored.tensors[name].numpy().dtype == array.dtype


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_column_order_byte_order_and_both_headers_are_read(version, tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    write(
        tmp_path / "net",
        columns=npy(np.asfortranarray(array), version),
        swapped=npy(array.astype(">f8"), version),
    )
    tensors = read_raw_weights(tmp_path / "net").tensors
    assert torch.equal(tensors["columns"], torch.from_numpy(array))
    assert torch.equal(tensors["swapped"], torch.from_numpy(array))


class Payload:
    """A class that writes a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def test_an_array_of_objects_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "net.npz", a=np.array([Payload()], dtype=object))
    with pytest.raises(ValueError, match="holds Python objects in 'a', which were not opened"):
        read_raw_weights(tmp_path / "net.npz")
    write(tmp_path / "net", a=pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"net can't be read \(ValueError: "):
        read_raw_weights(tmp_path / "net")
    assert not (tmp_path / "executed").exists()


def header(shape, descr="<f4"):
    file = io.BytesIO()
    entry = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, entry)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (3, 3), (1,), ()])
def test_a_header_that_does_not_fit_its_member_is_rejected(shape, tmp_path):
    write(tmp_path / "net", a=header(shape) + bytes(12))
    with pytest.raises(
        ValueError, match=r"net claims \(.*\) values of float32 for 'a' and holds 12"
    ):
        read_raw_weights(tmp_path / "net")


def test_an_oversized_header_is_rejected(tmp_path):
    long = b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }".ljust(10**6)
    content = b"\x93NUMPY\x02\x00" + len(long).to_bytes(4, "little") + long + bytes(4)
    write(tmp_path / "net", a=content)
    with pytest.raises(ValueError, match=r"net can't be read \(ValueError: Header info length"):
        read_raw_weights(tmp_path / "net")


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1j]), np.zeros(2, "f4,i4")])
def test_arrays_that_are_not_numeric_are_named(values, tmp_path):
    np.savez(tmp_path / "net.npz", a=values)
    with pytest.raises(
        ValueError, match=r"net\.npz holds 'a' as .*, which is not read: save it as"
    ):
        read_raw_weights(tmp_path / "net.npz")


def test_weights_that_diverged_are_rejected(tmp_path):
    np.savez(tmp_path / "net.npz", a=np.array([np.inf]))
    with pytest.raises(ValueError, match="holds NaN or infinity in 'a'"):
        read_raw_weights(tmp_path / "net.npz")
