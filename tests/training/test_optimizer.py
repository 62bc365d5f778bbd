"""Weight decay, the learning rate of each layer, and TensorFlow's RMSprop."""

import pytest
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from torch import nn

from mobilenets.models import create_model
from mobilenets.training import OPTIMIZERS, create_optimizer
from mobilenets.training.optimizer import find_depthwise_weights, group_by_decay


def decayed(net: nn.Module, **options) -> set[str]:
    optimizer = create_optimizer(net, "sgd", lr=0.1, weight_decay=1e-4, **options)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = optimizer.param_groups
    covered = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(covered) == sorted(names.values()), "every parameter once"
    return {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_norms_and_biases_are_not_decayed_by_default(name):
    net = create_model(name, width_mult=0.25, num_classes=10)
    filters = {key for key, value in net.named_parameters() if value.ndim > 1}
    assert decayed(net) == filters
    assert decayed(net, decay_norm_and_bias=True) == set(dict(net.named_parameters()))


@pytest.mark.parametrize(("name", "count"), [("mobilenet_v1", 13), ("mobilenet_v2", 17)])
def test_depthwise_filters_can_be_left_undecayed(name, count):
    net = create_model(name, width_mult=0.25, num_classes=10)
    left_out = decayed(net) - decayed(net, decay_depthwise=False)
    assert len(left_out) == count  # one a block
    shapes = {tuple(net.get_parameter(key).shape[1:]) for key in left_out}
    assert shapes == {(1, 3, 3)}


def test_frozen_parameters_are_left_out():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    optimizer = create_optimizer(net, "sgd", lr=0.1)
    assert [p for group in optimizer.param_groups for p in group["params"]] == [net.weight]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("frozen", [0, 4, None])
@pytest.mark.parametrize("weight_decay", [0, 0.0, 1e-4])
@pytest.mark.parametrize("norm_and_bias", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_groups_are_timms_in_its_order(name, frozen, weight_decay, norm_and_bias, depthwise):
    """The checkpoint of an optimizer identifies parameters only by their order."""
    net = create_model(name, width_mult=0.25, num_classes=10)
    net.features[:frozen].requires_grad_(False)
    undecayed = () if depthwise else find_depthwise_weights(net)
    ours = group_by_decay(net, weight_decay, norm_and_bias, undecayed)
    theirs = param_groups_weight_decay(
        net,
        weight_decay,
        weight_decay_exclude_1d=not norm_and_bias,
        no_weight_decay_list=undecayed,
    )
    assert [group.keys() for group in ours] == [group.keys() for group in theirs]
    for group, other in zip(ours, theirs, strict=True):
        assert group["weight_decay"] == other["weight_decay"]
        assert [id(p) for p in group["params"]] == [id(p) for p in other["params"]]


# Rates by layer

NETS = ["mobilenet_v1", "mobilenet_v2"]
RATES = [{"layer_decay": 0.5}, {"head_lr_mult": 10.0}, {"layer_decay": 0.5, "head_lr_mult": 10.0}]


def rates(net: nn.Module, **options) -> dict[str, float]:
    """Return the learning rate of each parameter."""
    optimizer = create_optimizer(net, "sgd", lr=0.1, weight_decay=1e-4, **options)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    pairs = [
        (names[id(p)], group["lr"]) for group in optimizer.param_groups for p in group["params"]
    ]
    assert sorted(name for name, _ in pairs) == sorted(names.values()), "every parameter once"
    return dict(pairs)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("options", RATES)
def test_rates_fall_from_the_classifier_down_and_the_classifiers_is_its_own(name, options):
    net = create_model(name, width_mult=0.25, num_classes=10)
    decay, last = options.get("layer_decay", 1.0), len(net.features)
    for key, rate in rates(net, **options).items():
        if key.startswith("classifier."):
            expected = 0.1 * options.get("head_lr_mult", 1.0)
        else:
            expected = 0.1 * decay ** (last - int(key.split(".")[1]))
        assert rate == pytest.approx(expected), key


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("options", RATES)
@pytest.mark.parametrize(
    "exclusions",
    [{}, {"decay_norm_and_bias": True}, {"decay_depthwise": False}],
)
def test_rates_by_layer_change_nothing_about_what_is_decayed(name, options, exclusions):
    net = create_model(name, width_mult=0.25, num_classes=10)
    assert decayed(net, **options, **exclusions) == decayed(net, **exclusions)


def test_without_rates_by_layer_there_are_two_groups():
    optimizer = create_optimizer(create_model("mobilenet_v1"), "sgd", lr=0.1, weight_decay=1e-4)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 1e-4]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_the_rate_of_a_layer_is_the_same_above_frozen_ones():
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=10)
    free = rates(net, layer_decay=0.5)
    net.features[:4].requires_grad_(False)
    optimizer = create_optimizer(net, "sgd", lr=0.1, weight_decay=1e-4, layer_decay=0.5)
    lowest = min(group["lr"] for group in optimizer.param_groups)
    assert lowest == free["features.4.depthwise.0.weight"] > free["features.3.depthwise.0.weight"]


def test_rmsprop_takes_the_root_after_adding_eps():
    """TensorFlow's form: mean square starts at 1, step = lr * grad / sqrt(ms + eps)."""
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = OPTIMIZERS["rmsprop"]([weight], lr=0.1, alpha=0.9, eps=1.0, momentum=0.0)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    mean_square = 0.9 * 1.0 + 0.1 * 3.0**2
    assert weight.item() == pytest.approx(2.0 - 0.1 * 3.0 / (mean_square + 1.0) ** 0.5)


# Fused kernels

SETTINGS = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "adamw": {"lr": 1e-3, "weight_decay": 1e-2},
}


def trained(name: str, options: dict, steps: int, *, frozen: int = 0, fused: bool = True):
    """Return a net after some steps, in the first `frozen` of which its first layers are frozen."""
    torch.manual_seed(0)
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=5, conv="full", shallow=True)
    net = net.to(memory_format=torch.channels_last).eval()
    optimizer = create_optimizer(net, name, **options)
    assert all(group["fused"] for group in optimizer.param_groups)
    for group in optimizer.param_groups:
        group["fused"] = fused
    for step in range(steps):
        net.features[:3].requires_grad_(step >= frozen)
        optimizer.zero_grad()
        F.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("frozen", [0, 2])
def test_the_fused_kernels_take_the_steps_of_the_plain_ones(name, frozen):
    net, optimizer = trained(name, SETTINGS[name], 4, frozen=frozen)
    plain, reference = trained(name, SETTINGS[name], 4, frozen=frozen, fused=False)
    start, _ = trained(name, SETTINGS[name], 0)
    compared = 0
    for (key, value), other, before in zip(
        net.named_parameters(), plain.parameters(), start.parameters(), strict=True
    ):
        moved = (other - before).norm()
        assert moved > 0, key
        assert (value - other).norm() < 1e-3 * moved, key
        compared += 1
    assert compared == len(optimizer.state) == len(reference.state)


@pytest.mark.parametrize("name", SETTINGS)
def test_lightning_may_unscale_and_clip_the_gradients_of_a_fused_optimizer(name):
    net = nn.Linear(3, 2)
    optimizer = create_optimizer(net, name, **SETTINGS[name])
    assert not optimizer._step_supports_amp_scaling
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(net(torch.ones(1, 3)).sum()).backward()
    scaler.unscale_(optimizer)
    torch.testing.assert_close(net.weight.grad, torch.ones(2, 3))
    before = net.weight.detach().clone()
    scaler.step(optimizer)
    assert ((net.weight - before).abs() < 0.2).all() and not torch.equal(net.weight, before)


def test_optimizers_without_a_fused_kernel_and_devices_without_one_are_left_as_they_are():
    net = nn.Linear(3, 2)
    rmsprop = create_optimizer(net, "rmsprop", lr=0.1)
    assert "fused" not in rmsprop.param_groups[0]
    sgd = create_optimizer(net.to("meta"), "sgd", lr=0.1)
    assert not sgd.param_groups[0]["fused"]
