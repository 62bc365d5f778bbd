import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilenets.models import MobileNetV2, count_macs, count_parameters


@pytest.mark.parametrize(
    ("layer", "input_size", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 6), 10 * 6 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2), (3, 11, 7), 5 * 3 * 8 * 3 * 9),
        (nn.Conv2d(8, 16, (1, 5), groups=4, padding="same"), (8, 4, 4), 16 * 16 * 2 * 5),
        (nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding=2), (8, 5, 5), 25 * 8 * 9),
        (nn.Conv1d(4, 6, 3), (4, 10), 8 * 6 * 4 * 3),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 8 * 2 * 8),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 25 * 4 * 6 * 4),
        (nn.Linear(7, 5), (7,), 35),
        (nn.Linear(7, 5, bias=False), (3, 7), 3 * 35),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1)), (3, 8, 8), 0),
    ],
)
def test_macs_of_one_layer(layer, input_size, macs):
    assert count_macs(layer, input_size) == macs


def test_a_layer_called_twice_counts_twice_and_functions_count():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return F.linear(self.linear(self.linear(x)), weight=self.linear.weight)

    assert count_macs(Net(), (4,)) == 48
    assert count_parameters(Net()) == 20


def test_other_peoples_nets_are_counted():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    linear = 5 * (3 * 8 * 8 + 8 * 8 + 2 * 8 * 16)  # without the products of the attention
    assert count_macs(layer, (5, 8)) == linear
    with torch.inference_mode():
        assert count_macs(layer, (5, 8)) == linear


def test_a_linear_layer_on_a_transposed_map_is_counted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 5, bias=False).requires_grad_(False)

        def forward(self, x):
            return self.linear(x.transpose(1, 2))

    with torch.no_grad():
        assert count_macs(Net(), (4, 3)) == 60


def test_weight_norm_and_half_precision_are_counted():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    assert count_macs(layer, (4,)) == 12
    assert count_macs(nn.Linear(4, 3).half(), (4,)) == 12


def test_counting_does_not_change_the_model():
    model = MobileNetV2(width_mult=0.25)
    model.features[3].eval()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    modes = [module.training for module in model.modules()]

    assert count_macs(model, (3, 32, 32)) == count_macs(model, (3, 32, 32)) > 0

    assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == identities
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counting_allocates_nothing():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.Linear(10**6, 10))
    assert count_macs(model, (10**6,)) == 10**12 + 10**7


def test_parameters_include_frozen_ones_and_no_buffers():
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3))
    model[0].weight.requires_grad_(False)
    assert count_parameters(model) == 6 + 6
