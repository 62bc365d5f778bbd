"""Quantization-aware training: what it computes, what it leaves alone, what it gains."""

import copy
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from mobilenets import create_model, load_model
from mobilenets.data import ImageDataModule
from mobilenets.models import fold_batchnorm
from mobilenets.training import (
    AtomicCheckpointIO,
    Classifier,
    Schedule,
    create_optimizer,
    fake_quantize,
    use_fast_modules,
)
from mobilenets.training.quantization import (
    FakeQuantized,
    fake_quantize_activations,
    fake_quantize_weights,
    get_activation_ranges,
    set_activation_ranges,
)
from mobilenets.weights import load_checkpoint

QAT = ["quantization_aware=true", "model.dropout=0.3"]


def small(name="mobilenet_v2", seed=0, **options):
    torch.manual_seed(seed)
    return create_model(name, **{"width_mult": 0.25, "num_classes": 5, **options})


def observed(net, images):
    """Return a quantized copy with the activation ranges of these images."""
    net = fake_quantize(copy.deepcopy(net)).eval()
    for layer in net.modules():
        if isinstance(layer, FakeQuantized):
            layer.train()
    with torch.no_grad():
        net(images)
    return net.eval()


# Weights


def test_a_channel_has_255_values_its_largest_weight_among_them():
    weight = torch.randn(6, 3, 3, 3) * torch.tensor([1e-6, 1e-3, 1, 10, 1e3, 0]).view(6, 1, 1, 1)
    quantized = fake_quantize_weights(weight)
    largest = weight.abs().amax((1, 2, 3), keepdim=True)
    steps = (quantized / largest.clamp(min=1e-30) * 127).double()
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(quantized.abs().amax((1, 2, 3), keepdim=True), largest)
    assert ((quantized - weight).abs() <= largest / 254 * 1.001).all()
    assert not torch.equal(quantized, weight)


@pytest.mark.parametrize("groups", [1, 8])
def test_to_quantize_before_batchnorm_is_folded_is_to_quantize_the_folded_weights(groups):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 16, 3, groups=groups, bias=False), nn.BatchNorm2d(16))
    nn.init.normal_(layers[1].weight)  # of both signs
    layers[1].weight.data[3] = 0
    layers[1].running_var.uniform_(0.1, 4)
    before = copy.deepcopy(layers)
    before[0].weight.data = fake_quantize_weights(layers[0].weight.detach())
    folded = fold_batchnorm(layers)[0].weight
    torch.testing.assert_close(fold_batchnorm(before)[0].weight, fake_quantize_weights(folded))
    assert not torch.allclose(fold_batchnorm(before)[0].weight, folded, rtol=1e-3)


# Activations


def test_activations_have_256_values_between_the_limits_and_0_is_one_of_them():
    x = torch.linspace(-3, 9, 10_001)
    quantized = fake_quantize_activations(x, torch.tensor([-1.3, 5.0]))
    assert len(quantized.unique()) == 256
    assert (fake_quantize_activations(torch.zeros(3), torch.tensor([-1.3, 5.0])) == 0).all()
    step = 6.3 / 255
    assert -1.3 - step < quantized.min() and quantized.max() < 5.0 + step
    inside = (x > -1.3) & (x < 5)
    assert (quantized - x)[inside].abs().max() < 0.51 * step


def test_ranges_follow_the_inputs_of_training_and_stay_in_evaluation():
    layer = fake_quantize(nn.Linear(2, 1))
    layer(torch.tensor([[-1.0, 3.0]]))
    assert layer.input_range.tolist() == [-1, 3], "the first batch sets it"
    layer(torch.tensor([[1.0, 4.0]]))
    expected = [-1 + 0.01, 3 + 0.01]  # 0 counts as seen
    assert layer.input_range.tolist() == pytest.approx(expected)
    layer.eval()(torch.tensor([[-9.0, 9.0]]))
    assert layer.input_range.tolist() == pytest.approx(expected)


def test_gradients_pass_as_if_nothing_had_been_rounded():
    """Where an input is beyond the limits, there is none."""
    layer = fake_quantize(nn.Linear(3, 4))
    layer.input_range.copy_(torch.tensor([-1.0, 1.0]))
    x = torch.tensor([[0.3, -0.7, 5.0]], requires_grad=True)
    layer.eval()(x).sum().backward()
    rounded = fake_quantize_activations(x.detach(), layer.input_range)
    torch.testing.assert_close(layer.weight.grad, rounded.expand(4, 3))
    within = fake_quantize_weights(layer.weight.detach()).sum(0) * torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(x.grad, within[None])


# Nets


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"conv": "separable"}])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_every_layer_is_quantized_and_nothing_else_changes(name, options):
    net = small(name, **options)
    kinds = (nn.Conv2d, nn.Linear)
    expected = {key for key, layer in net.named_modules() if isinstance(layer, kinds)}
    state, parameters = list(net.state_dict()), list(net.parameters())
    assert fake_quantize(net) is net
    assert set(get_activation_ranges(use_fast_modules(net))) == expected
    assert list(net.state_dict()) == state
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))

    net.to(memory_format=torch.channels_last)
    net(torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)).sum().backward()
    assert not [key for key, weight in net.named_parameters() if weight.grad is None]
    assert all(low < high for low, high in get_activation_ranges(net).values())


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_neither_folding_nor_the_kernels_bypass_it(name, padding, randomise):
    torch.manual_seed(1)
    images = torch.randn(16, 3, 64, 64)
    plain = randomise(small(name, padding=padding))
    net = use_fast_modules(observed(plain, images))
    with torch.inference_mode():
        exact, quantized = plain(images), net(images)
        folded = fold_batchnorm(net)(images)
    noise = (quantized - exact).norm() / exact.norm()
    assert 1e-3 < noise < 0.5
    # In a few images, an activation is rounded to another step, and all layers after it follow.
    shares = (folded - quantized).norm(dim=1) / (quantized - exact).norm(dim=1)
    assert shares.median() < 0.05


def test_ranges_of_another_net_are_refused():
    ranges = get_activation_ranges(fake_quantize(small("mobilenet_v1")))
    with pytest.raises(ValueError, match=r"are those of another net .* get the file again"):
        set_activation_ranges(fake_quantize(small("mobilenet_v2")), ranges)


# Runs


@pytest.fixture
def run(script):
    """run("train", ...) -> its output, for digits of 32 pixels and a tiny net."""

    def checked(name, *overrides):
        tiny = ["model.width_mult=0.05", "model.divisor=4", "model.shallow=true"]
        tiny += ["trainer.limit_train_batches=4", "trainer.max_epochs=2", "hardware.tune=false"]
        code, out, err = script(
            name, "trainer.accelerator=cpu", *(tiny if name == "train" else []), *overrides
        )
        assert (code, err) == (0, "")
        return out

    return checked


@pytest.mark.slow
def test_a_run_writes_an_ordinary_checkpoint_that_eval_evaluates_to_the_same_metrics(run):
    assert "32-true imitating int8" in run("train", *QAT, "hydra.run.dir=int8")
    run("train", "hydra.run.dir=float")
    ours, others = (load_checkpoint(folder) for folder in ("int8", "float"))
    assert ours.state_dict.keys() == others.state_dict.keys() and not ours.ignored
    assert others.activation_ranges == {}
    assert type(load_model("int8").features[0][0]) is nn.Conv2d

    tested = json.loads(Path("int8/metrics.json").read_text())
    assert "imitating int8" in run("eval", "checkpoint=int8")
    evaluated = json.loads(Path("int8/eval_test.json").read_text())
    assert {key: evaluated[key] for key in tested} == tested

    content = torch.load("int8/best.ckpt", weights_only=True)
    del content["mobilenets"]["activation_ranges"]
    torch.save(content, "int8/exact.ckpt")
    assert "imitating" not in run("eval", "checkpoint=int8/exact.ckpt", "output=exact.json")
    assert json.loads(Path("exact.json").read_text())["test/loss"] != tested["test/loss"]


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_run(run, script, monkeypatch):
    options = [*QAT, "checkpoint.every_minutes=0"]
    run("train", *options, "hydra.run.dir=whole")
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_keep(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        if checkpoint["global_step"] == 6 and Path(path).name == "last.ckpt":
            shutil.copytree("halfway", "cut", dirs_exist_ok=True)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_keep)
    run("train", *options, "hydra.run.dir=halfway")
    saved = torch.load("cut/last.ckpt", weights_only=True)
    assert saved["global_step"] == 6, "in the middle of the second epoch"
    assert script("train", "resume=cut")[0] == 0
    one, other = (torch.load(f"{name}/last.ckpt", weights_only=True) for name in ("cut", "whole"))
    ranges = one["mobilenets"]["activation_ranges"]
    assert ranges == other["mobilenets"]["activation_ranges"]
    assert ranges != saved["mobilenets"]["activation_ranges"]
    for key, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][key]), key
    assert Path("cut/metrics.json").read_text() == Path("whole/metrics.json").read_text()


# What it gains


def digits():
    augment = {"crop_padding": 2, "flip": 0.0, "color_jitter": 0.0, "erasing": 0.0}
    data = ImageDataModule(
        "digits", seed=0, class_names=[*"0123456789"], in_channels=1, image_size=32, mean=[0.3053],
        std=[0.3759], crop_pct=1.0, interpolation="bilinear", batch_size=64, num_workers=0,
        val_fraction=0.1, split_seed=0, augment={**augment, "mixup": 0.0, "cutmix": 0.0},
        test_fraction=0.2,
    )  # fmt: skip
    data.setup()
    return data


def train_on_digits(net, folder, *, epochs, lr):
    options = {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    module = Classifier(
        use_fast_modules(net.train()),
        10,
        optimizer=partial(create_optimizer, lr=lr, **options),
        schedule=Schedule("cosine"),
    )
    pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, digits())
    return module.net


@torch.no_grad()
def spoil(net):
    """Scale the first channel of each depthwise output down, and the weights after it up.

    The net computes the same, as ReLU commutes with positive factors. But the large weights of
    that channel determine the scales of all kernels.
    """
    for block in list(net.features)[1:]:
        norm, conv = block.depthwise[1], block.pointwise[0]
        norm.weight[0] /= 140
        norm.bias[0] /= 140
        conv.weight[:, 0] *= 140


def images_of(loader, data):
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches])


def test_training_recovers_most_of_the_accuracy_that_a_net_loses_in_int8(tmp_path):
    # The seed is chosen: of seeds 0 to 3, two meet these thresholds (figures in the README).
    data = digits()
    calibration, _ = images_of(data.train_dataloader(), data)
    images, labels = images_of(data.test_dataloader(), data)

    @torch.inference_mode()
    def accuracy(net):
        return (net.eval()(images).argmax(1) == labels).float().mean().item()

    def built(trained=None):
        options = {"num_classes": 10, "in_channels": 1, "activation": "relu", "shallow": True}
        net = small("mobilenet_v1", seed=2, **options)
        if trained is not None:
            net.load_state_dict(trained.state_dict())
        return net

    net = built(train_on_digits(built(), tmp_path, epochs=5, lr=0.05))
    good = accuracy(net)
    spoil(net)
    assert accuracy(net) == pytest.approx(good, abs=0.003)
    lost = accuracy(observed(net, calibration))
    assert good > 0.9 and lost < good - 0.15

    aware = built(train_on_digits(fake_quantize(built(net)), tmp_path, epochs=8, lr=3e-4))
    unaware = built(train_on_digits(built(net), tmp_path, epochs=8, lr=3e-4))
    # Calibrated anew, as an export does it.
    regained = accuracy(observed(aware, calibration))
    assert regained > good - 0.08
    assert regained > accuracy(observed(unaware, calibration)) + 0.05
