"""The EMA of the weights: timm's, at a fraction of the cost."""

import copy

import pytest
import torch
from timm.utils import ModelEmaV3

from mobilenets.models import create_model
from mobilenets.training.ema import WeightEMA, lerp_stochastically


def small():
    torch.manual_seed(5)
    net = create_model("mobilenet_v2", width_mult=0.25, num_classes=5)
    return net.to(memory_format=torch.channels_last)


@torch.no_grad()
def train(net, step):
    """Change every weight that is trained, and the statistics of the norms."""
    torch.manual_seed(step)
    for weight in net.parameters():
        if weight.requires_grad:
            weight += torch.randn_like(weight)
    net(torch.randn(4, 3, 32, 32, dtype=weight.dtype))


@pytest.mark.parametrize("decay", [0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_timms_to_the_bit(decay, dtype):
    net = small().to(dtype)
    net.features[:4].requires_grad_(False).eval()
    start = copy.deepcopy(net.state_dict())
    ours, theirs = WeightEMA(net, decay), ModelEmaV3(net, decay, use_warmup=True)
    ours.track(net)
    for step in range(1, 6):
        train(net, step)
        ours.update(step)
        theirs.update(net, step=step)
    assert list(ours.state_dict()) == list(theirs.state_dict()), "checkpoints count on the names"
    for (key, value), other in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        name = key.removeprefix("module.")
        assert torch.equal(value, other), key
        assert value.stride() == net.state_dict()[name].stride(), key
        frozen = name.startswith(("features.0.", "features.1.", "features.2.", "features.3."))
        assert torch.equal(value, start[name]) == frozen, key
    assert ours.module.features[5].conv[0][1].num_batches_tracked == 5


def test_the_decay_rises_from_zero_to_its_maximum():
    average = WeightEMA(torch.nn.Linear(1, 1), 0.99)
    assert average.decay_at(1) == 0
    assert average.decay_at(8) == pytest.approx(1 - 1 / 4)
    assert average.decay_at(999) < average.decay_at(1001) == average.decay_at(10**6) == 0.99


def test_it_tracks_a_net_whose_tensors_were_replaced():
    net = small()
    average = WeightEMA(net, 0.9)
    average.track(net)
    both = torch.nn.ModuleList([net, average]).double()  # other tensors take the place of buffers
    average.track(net)
    train(net, 1)
    average.update(1)
    different = [
        key
        for key, value in both[1].module.state_dict().items()
        if not torch.equal(value, net.state_dict()[key])
    ]
    assert not different, "the first step is the whole average"


def test_it_requires_no_gradients_and_is_in_evaluation_mode():
    average = WeightEMA(small().train(), 0.9)
    assert not any(weight.requires_grad for weight in average.parameters())
    assert not any(part.training for part in average.module.modules())


def test_an_average_in_bfloat16_follows_steps_too_small_for_its_precision():
    """From 1 towards 2 in steps of at most 0.001, its numbers there being 0.0078 apart."""
    averages = [torch.ones(20_000, dtype=torch.bfloat16)]
    values = [torch.full_like(averages[0], 2)]
    expected = 1.0
    for step in range(200):
        lerp_stochastically(averages, values, 0.001, seed=step)
        expected += 0.001 * (2 - expected)
    assert averages[0].float().mean().item() == pytest.approx(expected, abs=0.002)


def test_rounding_in_bfloat16_depends_on_the_step_alone():
    states = []
    for drawn_before in (1, 100):
        net = small().bfloat16()
        average = WeightEMA(net, 0.9)
        average.track(net)
        for step in (1, 2, 3):
            train(net, step)
            torch.rand(drawn_before)
            average.update(step)
        states.append(average.state_dict())
    first, second = states
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert any(
        not torch.equal(first[f"module.{key}"], value) for key, value in net.state_dict().items()
    )
