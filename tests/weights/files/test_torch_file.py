"""Files of torch.save give their state dict, and are never executed."""

import argparse
import pickle
import traceback
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from mobilenets.weights.files import limits, read_raw_weights


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).state_dict()


def same(found, expected):
    return list(found) == list(expected) and all(torch.equal(found[k], expected[k]) for k in found)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_from_the_new_and_the_old_format(zipped, weights, tmp_path):
    torch.save(weights, tmp_path / "net", _use_new_zipfile_serialization=zipped)
    stored = read_raw_weights(tmp_path / "net")
    assert (stored.format, stored.ignored) == ("PyTorch", [])
    assert same(stored.tensors, weights)


def test_a_training_scripts_checkpoint_keeps_its_arguments_as_content(weights, tmp_path):
    args = argparse.Namespace(lr=0.045, model="mobilenet_v2")
    torch.save({"epoch": 3, "args": args, "model": weights}, tmp_path / "net")
    stored = read_raw_weights(tmp_path / "net")
    assert same(stored.tensors, weights)
    assert stored.content["epoch"] == 3
    assert stored.content["args"] == args


def test_trainable_parameters_are_read_as_plain_tensors(tmp_path):
    torch.save({"weight": nn.Parameter(torch.ones(2))}, tmp_path / "net")
    assert not read_raw_weights(tmp_path / "net").tensors["weight"].requires_grad


class Payload:
    """A class that writes a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("hide", [lambda p: p, lambda p: argparse.Namespace(payload=p)])
def test_a_payload_is_not_executed(zipped, hide, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": weights, "args": hide(Payload())}
    torch.save(content, tmp_path / "net", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"net holds more than tensors and plain data, so it was"):
        read_raw_weights(tmp_path / "net")
    assert not (tmp_path / "executed").exists()


def test_a_plain_pickle_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"net (holds more than|is not a checkpoint)"):
        read_raw_weights(tmp_path / "net")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_not_a_checkpoint(zipped, share, weights, tmp_path):
    torch.save(weights, tmp_path / "net", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "net").write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        ValueError, match=r"net is not a checkpoint: torch\.save did not write it, or"
    ):
        read_raw_weights(tmp_path / "net")


def test_a_flipped_bit_is_found_wherever_it_changes_anything(weights, tmp_path):
    torch.save({"state_dict": weights}, tmp_path / "net")
    content, found = (tmp_path / "net").read_bytes(), 0
    for position in range(5, len(content), len(content) // 150):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "net").write_bytes(damaged)
        try:
            assert same(read_raw_weights(tmp_path / "net").tensors, weights), position
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path}/net ")
            found += 1
    assert found > 30  # the rest is padding, and names that nobody reads


def test_a_damaged_tensor_is_named(weights, tmp_path):
    torch.save(weights, tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    values = weights["0.weight"].numpy().tobytes()
    (tmp_path / "net").write_bytes(content.replace(values, values[:-1] + b"!"))
    with pytest.raises(ValueError, match="net is damaged, as the checksum of its net/data/0 says"):
        read_raw_weights(tmp_path / "net")


def test_pytorchs_message_which_advises_executing_a_file_is_hidden(tmp_path):
    torch.save({"x": Payload()}, tmp_path / "net")
    with pytest.raises(ValueError, match="holds more than tensors") as error:
        read_raw_weights(tmp_path / "net")
    shown = "".join(traceback.format_exception(error.value))
    assert "UnpicklingError" not in shown and "arbitrary code" not in shown


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch.zeros(2), "holds a Tensor, not a dict of weights"),
        ([torch.zeros(2)], "holds a list, not a dict of weights"),
        ({"epoch": 3}, "holds no weights"),
        ({}, "holds no weights"),
        ({"a": torch.tensor([1.0, float("nan")])}, "holds NaN or infinity in 'a': the weights div"),
        ({"a": torch.ones(1), "b": torch.full((2,), -torch.inf)}, "holds NaN or infinity in 'b'"),
        ({"a": torch.eye(2).to_sparse()}, "holds 'a' in a form that is not read"),
        ({"a": torch.ones(2, device="meta")}, "holds 'a' in a form that is not read"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "holds 'a' in a form that is not read"),
    ],
)
def test_a_file_without_usable_weights_is_named_with_its_cause(content, sentence, tmp_path):
    torch.save(content, tmp_path / "net")
    with pytest.raises(ValueError, match=f"net {sentence}"):
        read_raw_weights(tmp_path / "net")


def test_a_view_that_repeats_one_number_for_ever_is_rejected(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**12)}, tmp_path / "net")
    assert (tmp_path / "net").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"net would unpack to 4000\.0 GB; at most 2\.1 GB"):
        read_raw_weights(tmp_path / "net")


def test_records_that_unpack_to_too_much_are_rejected(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "stored")
    with (
        zipfile.ZipFile(tmp_path / "stored") as old,
        zipfile.ZipFile(tmp_path / "net", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert (tmp_path / "net").stat().st_size < 10_000
    monkeypatch.setattr(limits, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="net would unpack to"):
        read_raw_weights(tmp_path / "net")


def test_a_torchscript_program_is_told_how_to_become_a_state_dict(tmp_path):
    with zipfile.ZipFile(tmp_path / "net", "w") as archive:
        for member in ("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"):
            archive.writestr(member, "")
    with pytest.raises(ValueError, match=r"is a TorchScript program, .*torch\.jit\.load\(PATH\)"):
        read_raw_weights(tmp_path / "net")


def test_an_ordered_dict_is_a_dict(weights, tmp_path):
    torch.save(OrderedDict(state_dict=OrderedDict(weights)), tmp_path / "net")
    assert same(read_raw_weights(tmp_path / "net").tensors, weights)
