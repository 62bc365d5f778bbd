"""Which parameters are decayed, and TensorFlow's RMSprop."""

import pytest
import torch
from torch import nn

from mobilenets.models import create_model
from mobilenets.training import OPTIMIZERS, create_optimizer


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


def test_rmsprop_takes_the_root_after_adding_eps():
    """TensorFlow's form: mean square starts at 1, step = lr * grad / sqrt(ms + eps)."""
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = OPTIMIZERS["rmsprop"]([weight], lr=0.1, alpha=0.9, eps=1.0, momentum=0.0)
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    mean_square = 0.9 * 1.0 + 0.1 * 3.0**2
    assert weight.item() == pytest.approx(2.0 - 0.1 * 3.0 / (mean_square + 1.0) ** 0.5)
