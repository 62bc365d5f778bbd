"""What processes send to each other."""

import pytest
import torch.distributed as dist

from mobilenets.training.fault_tolerance.distributed import all_gather_objects, init_torchrun


def test_a_single_process_gathers_its_own_value(tmp_path):
    assert all_gather_objects({"a": 1}) == [{"a": 1}]
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert all_gather_objects({"a": 1}) == [{"a": 1}]
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("value", [None, "False"])
def test_without_torchrun_lightning_connects_the_processes(value, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    if value:
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", value)
    init_torchrun("cpu")
    assert not dist.is_initialized()
