"""Weights of every zoo give the same logits as the library that they come from."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from mobilenets import load_model
from mobilenets.models.blocks import make_divisible

IMAGES = (2, 3, 64, 64)


def check(theirs, path, images=None, **expected):
    """Check that our net from the file gives their logits; return our net."""
    torch.manual_seed(1)
    images = torch.randn(IMAGES) if images is None else images
    ours = load_model(path)
    with torch.no_grad():
        wanted, logits = theirs(images), ours(images)
    assert wanted.std() > 0.1, "the comparison would not notice much"
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-5)
    for option, value in expected.items():
        assert ours.options[option] == value, option
    return ours


@pytest.fixture
def saved(tmp_path, randomise):
    """saved(model) -> (the model with random values, a file of its state dict)."""

    def save(model):
        torch.manual_seed(0)
        torch.save(randomise(model).state_dict(), tmp_path / "weights.bin")
        return model, tmp_path / "weights.bin"

    return save


@pytest.mark.parametrize("width", [0.25, 1.0, 1.4])
def test_torchvision(saved, width):
    model, path = saved(torchvision.models.mobilenet_v2(width_mult=width, num_classes=7))
    check(model, path, width_mult=width, num_classes=7)


TIMM = timm.list_models("mobilenetv[12]_*")


def test_timm_has_the_nets_that_are_tested():
    assert len(TIMM) == 10


@pytest.mark.parametrize("name", TIMM)
def test_timm(saved, name):
    model, path = saved(timm.create_model(name))
    ours = check(model, path, num_classes=1000)
    assert ours.preprocessing["mean"] == ([0.5] if "v1" in name else [0.485, 0.456, 0.406])
    if name == "mobilenetv1_100h":
        assert ours.options["head_channels"] == 1024
    if name == "mobilenetv2_120d":
        assert [blocks for _, _, blocks, _ in ours.options["stages"]] == [1, 3, 5, 6, 5, 5, 1]


def test_timm_with_tensorflows_padding_and_epsilon_needs_both_options(saved):
    model, path = saved(timm.create_model("mobilenetv2_035", pad_type="same", bn_eps=1e-3))
    with pytest.raises(AssertionError):
        check(model, path)


class TonylinsBlock(nn.Module):
    """The block of tonylins and of d-li14, whose layers lie flat in one Sequential."""

    def __init__(self, c_in, c_out, stride, t):
        super().__init__()
        self.add = stride == 1 and c_in == c_out
        hidden = c_in * t
        expand = [nn.Conv2d(c_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        self.conv = nn.Sequential(
            *(expand if t != 1 else []),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class Tonylins(nn.Module):
    """tonylins/pytorch-mobilenet-v2; without `head_in_features` d-li14/mobilenetv2.pytorch."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
              (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip

    def __init__(self, width, head_in_features, divisor=8, num_classes=5):
        super().__init__()
        c_in = make_divisible(32 * width, divisor)
        layers = [self.unit(3, c_in, 3, 2)]
        for t, c, n, s in self.STAGES:
            for i in range(n):
                c_out = make_divisible(c * width, divisor)
                layers.append(TonylinsBlock(c_in, c_out, s if i == 0 else 1, t))
                c_in = c_out
        head = self.unit(c_in, 1280, 1, 1)
        self.features = nn.Sequential(*layers, *([head] if head_in_features else []))
        self.conv = nn.Sequential() if head_in_features else head
        self.classifier = nn.Linear(1280, num_classes)

    @staticmethod
    def unit(c_in, c_out, kernel, stride):
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6())

    def forward(self, x):
        return self.classifier(self.conv(self.features(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("width", "head_in_features", "divisor"),
    [(1.0, True, 8), (1.0, False, 8), (0.35, False, 8), (0.1, False, 4)],
)
def test_tonylins_and_d_li14(saved, width, head_in_features, divisor):
    model, path = saved(Tonylins(width, head_in_features, divisor))
    ours = check(model, path, width_mult=width, divisor=divisor, num_classes=5)
    assert ("tonylins" if head_in_features else "d-li14") in ours.weights_report.weights.origin


class KuangliuBlock(nn.Module):
    """The block of kuangliu/pytorch-cifar's MobileNet."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv2 = nn.Conv2d(c_in, c_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()


class Kuangliu(nn.Module):
    """kuangliu/pytorch-cifar's MobileNet, for 32 x 32 images."""

    BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
              *[(512, 1)] * 5, (1024, 2), (1024, 1))  # fmt: skip

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        channels = [32, *(c for c, _ in self.BLOCKS)]
        self.layers = nn.Sequential(
            *(KuangliuBlock(channels[i], c, s) for i, (c, s) in enumerate(self.BLOCKS))
        )
        self.linear = nn.Linear(1024, 10)

    def forward(self, x):
        return self.linear(self.layers(self.bn1(self.conv1(x)).relu()).mean((2, 3)))


def test_kuangliu_as_its_script_saves_it(tmp_path, randomise):
    torch.manual_seed(0)
    model = randomise(Kuangliu())
    weights = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"net": weights, "acc": 93.1, "epoch": 199}, tmp_path / "ckpt.pth")
    ours = check(model, tmp_path / "ckpt.pth", torch.randn(2, 3, 32, 32), activation="relu")
    assert ours.preprocessing["image_size"] == 32


def test_kuanglius_v2_is_rejected_with_the_layers_that_ours_lacks(tmp_path):
    weights = {}
    for i in range(17):
        for j in (1, 2, 3):
            weights[f"layers.{i}.conv{j}.weight"] = torch.zeros(8, 8, 1, 1)
            weights[f"layers.{i}.bn{j}.weight"] = torch.zeros(8)
    weights["layers.0.shortcut.0.weight"] = torch.zeros(16, 32, 1, 1)
    torch.save(weights, tmp_path / "ckpt.pth")
    with pytest.raises(ValueError, match="a mobilenet_v2 of kuangliu") as error:
        load_model(tmp_path / "ckpt.pth")
    assert "layers.0.shortcut.0: a convolution in a shortcut" in str(error.value)
    assert "layers.0.conv1: an expansion in a block of expand_ratio 1" in str(error.value)


@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("version", ["V1", "V2"])
def test_transformers(tmp_path, randomise, version, width):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"MobileNet{version}Config")(
        depth_multiplier=width, num_labels=1001, image_size=64
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"MobileNet{version}ForImageClassification")(config)
    randomise(model).save_pretrained(tmp_path)
    ours = check(
        lambda images: model(images).logits[:, 1:],  # without the background
        tmp_path,
        width_mult=width, padding="same", bn_eps=1e-3, num_classes=1000,
    )  # fmt: skip
    assert len(ours.class_names) == 1000
    assert load_model(tmp_path, num_classes=1001).num_classes == 1001


# TF-slim: its names and axes, for our own net; the tests of Keras and transformers show that this
# net computes what TensorFlow does.


def slim_variables(net, version):
    """Return the variables that a TF-slim checkpoint of one of our nets has."""
    from mobilenets.weights.zoos.layouts import OURS, SLIM_V1, SLIM_V2

    layout = {"v1": SLIM_V1, "v2": SLIM_V2}[version]
    state_dict = net.state_dict()
    positions = OURS[net.name].match({key.rpartition(".")[0] for key in state_dict}).positions
    variables = {}
    for key, tensor in state_dict.items():
        module, _, variable = key.rpartition(".")
        position = positions[module]
        number = position.block + (version == "v1") if position.block is not None else 0
        names = {**layout.outside, **(layout.plain if position.is_plain else layout.block)}
        name = names[position.role].replace("{k}", str(number))
        array = tensor.numpy()
        if position.is_norm:
            slim = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
                    "running_var": "moving_variance"}.get(variable)  # fmt: skip
            if slim:
                variables[f"{name}/BatchNorm/{slim}"] = array
        elif position.role == "depthwise":
            variables[f"{name}/depthwise_weights"] = array.transpose(2, 3, 0, 1)
        elif position.role == "classifier" and variable == "bias":
            variables[f"{name}/biases"] = array
        elif position.role == "classifier":
            variables[f"{name}/weights"] = array.T[None, None]
        else:
            variables[f"{name}/weights"] = array.transpose(2, 3, 1, 0)
    return variables


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_slim_variables_with_their_ema(tmp_path, randomise, version):
    torch.manual_seed(0)
    net = randomise(
        load_model_of(version, width_mult=0.5, num_classes=1001, padding="same", bn_eps=1e-3)
    )
    variables = slim_variables(net, version)
    names = {name.split("/")[1] for name in variables}
    assert {"Conv2d_0", "Conv2d_13_pointwise"} <= names or {"expanded_conv_16"} <= names
    kept = dict(variables)
    for name, array in variables.items():
        if not name.endswith(("moving_mean", "moving_variance")):
            kept[f"{name}/ExponentialMovingAverage"] = array
            kept[name] = np.zeros_like(array)  # the raw weights, which must not be used
            kept[f"{name}/RMSProp_1"] = array
    np.savez(tmp_path / "slim.npz", global_step=np.int64(5), **kept)
    ours = check(lambda images: net(images)[:, 1:], tmp_path / "slim.npz", padding="same")
    assert "global_step" in ours.weights_report.ignored


def load_model_of(version, **options):
    from mobilenets import create_model

    return create_model(f"mobilenet_{version}", **options)
