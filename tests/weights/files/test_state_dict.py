"""The state dict is found where training scripts put it, the EMA before the raw weights."""

import pytest
import torch

from mobilenets.weights.files.state_dict import ENTRIES, find_state_dict, unwrap

RAW = {"a.weight": torch.zeros(2), "a.steps": torch.tensor(3)}
AVERAGE = {"a.weight": torch.ones(2), "a.steps": torch.tensor(3)}


def same(found, expected):
    return list(found) == list(expected) and all(torch.equal(found[k], expected[k]) for k in found)


def with_prefix(prefix, weights):
    return {f"{prefix}{key}": value for key, value in weights.items()}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_usual_entry_is_found(entry):
    state_dict, passed = find_state_dict({"epoch": 3, entry: RAW, "optimizer": {"state": {}}})
    assert (state_dict is RAW, passed) == (True, [])


def test_a_state_dict_may_be_the_whole_file_or_two_levels_down():
    assert find_state_dict(RAW) == (RAW, [])
    assert find_state_dict({"state_dict": {"model": RAW}})[0] is RAW
    assert find_state_dict({"state_dict": {"model": {"net": RAW}}}) == ({}, [])


@pytest.mark.parametrize("average", ["model_ema", "state_dict_ema", "ema_state_dict", "ema"])
@pytest.mark.parametrize("raw", ["state_dict", "model_state_dict", "model", "net"])
def test_the_ema_comes_before_the_raw_weights(average, raw):
    assert find_state_dict({raw: RAW, average: AVERAGE}) == (AVERAGE, [raw])


def test_an_ema_of_nothing_but_counters_is_ignored():
    settings = {"decay": 0.999, "num_updates": torch.tensor(5)}
    assert find_state_dict({"ema": settings, "model": RAW}) == (RAW, [])


def test_an_entry_passed_over_is_named_with_its_path():
    nested = {"state_dict": {"model": RAW, "ema": AVERAGE}}
    assert find_state_dict(nested) == (AVERAGE, ["state_dict.model"])


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "net.", "model.", "backbone.", "module._orig_mod.net.", "ema."],
)
def test_the_prefixes_of_wrappers_are_dropped(prefix):
    tensors, ignored = unwrap(with_prefix(prefix, RAW))
    assert same(tensors, RAW)
    assert ignored == []


@pytest.mark.parametrize("prefix", ["ema.module.", "ema.", "model_ema.", "model_ema.module."])
def test_the_ema_in_a_flat_dict_is_used_and_the_raw_weights_are_named(prefix):
    flat = with_prefix("net.", RAW) | with_prefix(prefix, AVERAGE)
    tensors, ignored = unwrap(flat | {f"{prefix}n_averaged": torch.tensor(9)})
    assert same(tensors, AVERAGE)
    assert ignored == ["net.a.weight", "net.a.steps", f"{prefix}n_averaged"]


def test_the_counter_of_an_averaged_model_is_not_a_weight():
    averaged = {"n_averaged": torch.tensor(9), **with_prefix("module.", RAW)}
    tensors, ignored = unwrap(averaged)
    assert same(tensors, RAW)
    assert ignored == ["n_averaged"]


def test_entries_that_are_not_tensors_are_ignored_and_named():
    tensors, ignored = unwrap({**RAW, "_extra_state": {"a": 1}, 3: torch.ones(1)})
    assert same(tensors, RAW)
    assert ignored == ["_extra_state", "3"]


def test_two_keys_that_become_one_are_named():
    with pytest.raises(ValueError, match=r"holds both 'net\.a\.steps' and 'module\.a\.steps', whi"):
        unwrap({"net.a.steps": torch.ones(1), "module.a.steps": torch.ones(1)})
