"""Frozen layers: they do not change, stay in evaluation mode, and unfreeze when they should."""

import logging
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from mobilenets import create_model
from mobilenets.data import ImageDataModule
from mobilenets.training import (
    Classifier,
    Freezing,
    Schedule,
    create_optimizer,
    use_fast_modules,
)

OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "rmsprop": {"alpha": 0.9, "momentum": 0.9, "eps": 1.0},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
}
STAGES = [[1, 9], [2, 4], [3, 0]]  # of mobilenet_v1 from model.freeze=backbone on
FROZEN = [14, 10, 5, 0]  # layers of net.features, in each epoch


def small(name="mobilenet_v1", **options):
    torch.manual_seed(5)
    return create_model(name, width_mult=0.25, num_classes=5, **options)


def fake_data():
    augment = {"crop_padding": 4, "flip": 0.5, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
    data = ImageDataModule(
        "fake", seed=3, class_names=None, in_channels=3, image_size=16, mean=[0.5] * 3,
        std=[0.25] * 3, crop_pct=1.0, interpolation="bilinear", batch_size=16, num_workers=0,
        val_fraction=0.2, split_seed=0, augment=augment, num_samples=80, num_classes=5,
    )  # fmt: skip
    data.setup()
    assert len(data.train_dataloader()) == 4
    return data


def module(*, optimizer="sgd", ema_decay=None, compiled=False, **options):
    net = use_fast_modules(small(dropout=0.3))
    if compiled:
        net.compile(backend="eager")
    settings = {"lr": 0.05, "weight_decay": 0.1, **OPTIMIZERS[optimizer], **options}
    return Classifier(
        net,
        5,
        optimizer=partial(create_optimizer, name=optimizer, **settings),
        schedule=Schedule("exponential", gamma=0.9),
        ema_decay=ema_decay,
        seed=3,
    )


class Watch(pl.Callback):
    """Record the number of frozen layers in every step, and the tensors after every epoch."""

    def __init__(self):
        self.frozen, self.tensors = [], []  # the latter at the end of the epoch

    def on_before_backward(self, trainer, pl_module, loss):
        layers = pl_module.net.features
        modes = [{part.training for part in layer.modules()} for layer in layers]
        wanted = [{weight.requires_grad for weight in layer.parameters()} for layer in layers]
        assert modes == wanted, "a layer is in training mode if and only if it is trained"
        assert all(part.training for part in pl_module.net.classifier.modules())
        count = modes.count({False})
        assert modes == [{False}] * count + [{True}] * (len(modes) - count)
        self.frozen.append(count)

    def on_train_epoch_end(self, trainer, pl_module):
        self.tensors.append(state(pl_module.net))


def state(net):
    return {key: value.clone() for key, value in net.state_dict().items()}


def changed_layers(before, after):
    """Return the indices of the layers of `net.features` with a changed weight or statistic."""
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    return {int(key.split(".")[1]) for key in changed if key.startswith("features.")}


def trainer(folder, *callbacks, **options):
    return pl.Trainer(
        **{"max_epochs": 4, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 2}
        | options,
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


# How many layers


@pytest.mark.parametrize(
    ("name", "options", "blocks", "layers"),
    [
        ("mobilenet_v1", {}, 13, 14),
        ("mobilenet_v1", {"shallow": True}, 8, 9),
        ("mobilenet_v2", {}, 17, 19),
        ("mobilenet_v2", {"stages": [[1, 16, 1, 1], [6, 24, 2, 2]]}, 3, 5),
    ],
)
def test_a_number_freezes_the_stem_and_that_many_blocks(name, options, blocks, layers):
    net = small(name, **options)
    assert len(net.features) == layers
    counts = {"none": 0, 0: 0, 1: 2, blocks: blocks + 1, "backbone": layers}
    assert {freeze: Freezing(net, freeze).num_frozen(0) for freeze in counts} == counts
    sentence = f"^{blocks + 1} blocks can't be frozen: this {name} has {blocks}; "
    for more in ((blocks + 1, None), ("backbone", [[1, blocks + 1]])):
        with pytest.raises(ValueError, match=sentence):
            Freezing(net, *more)


def test_what_is_frozen_depends_on_the_epoch():
    callback = Freezing(small(), "backbone", [[2, 9], [5, 4], [6, 0]])
    assert [callback.num_frozen(epoch) for epoch in range(8)] == [14, 14, 10, 10, 10, 5, 0, 0]


# Throughout a run


@pytest.mark.parametrize("freeze", ["backbone", 3])
@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.5},
        pytest.param({"compiled": True}, marks=pytest.mark.slow),
        {"optimizer": "adamw"},
        {"layer_decay": 0.8},
    ],
)
def test_frozen_layers_do_not_change_and_the_others_do(freeze, options, tmp_path):
    trained, watch = module(**options), Watch()
    before = state(trained.net)
    callbacks = [Freezing(trained.net, freeze), watch]
    run = trainer(tmp_path, *callbacks, max_epochs=2, val_check_interval=0.5)
    run.fit(trained, fake_data())
    frozen = 14 if freeze == "backbone" else 4
    assert watch.frozen == [frozen] * 8
    for net in {trained.net, trained.eval_net}:
        assert changed_layers(before, net.state_dict()) == set(range(frozen, 14))
        assert not torch.equal(before["classifier.1.weight"], net.classifier[1].weight)
    held = {p for group in run.optimizers[0].param_groups for p in group["params"]}
    assert held == {p for p in trained.net.parameters() if p.requires_grad}
    assert len(held) == len(list(trained.net.features[frozen:].parameters())) + 2


def test_frozen_norms_use_their_running_statistics(tmp_path):
    images = torch.randn(4, 3, 16, 16)
    expected = module().net.eval().forward_features(images)
    assert not torch.allclose(module().net.forward_features(images), expected, atol=0.1)
    trained = module()
    trainer(tmp_path, Freezing(trained.net, "backbone"), max_epochs=1).fit(trained, fake_data())
    assert trained.net.training
    torch.testing.assert_close(trained.net.forward_features(images), expected)


def test_a_test_freezes_nothing(tmp_path):
    trained = module()
    trainer(tmp_path, Freezing(trained.net, "backbone")).test(trained, fake_data(), verbose=False)
    assert all(weight.requires_grad for weight in trained.net.parameters())


# In stages


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "rmsprop"},
        {"optimizer": "adamw", "ema_decay": 0.5},
        pytest.param({"compiled": True}, marks=pytest.mark.slow),
        {"layer_decay": 0.8, "head_lr_mult": 2.0},
    ],
)
def test_layers_unfreeze_in_their_epoch_and_do_not_change_before(options, tmp_path):
    trained, watch = module(**options), Watch()
    start = state(trained.net)
    run = trainer(
        tmp_path, Freezing(trained.net, "backbone", STAGES), watch, val_check_interval=0.5
    )
    run.fit(trained, fake_data())
    assert watch.frozen == [count for count in FROZEN for _ in range(4)]
    assert [changed_layers(start, tensors) for tensors in watch.tensors] == [
        set(range(n, 14)) for n in FROZEN
    ]
    held = [p for group in run.optimizers[0].param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in trained.net.parameters()}


def test_unfreezing_is_one_line_of_the_log(tmp_path, caplog):
    trained = module()
    with caplog.at_level(logging.INFO, "mobilenets"):
        trainer(tmp_path, Freezing(trained.net, "backbone", STAGES)).fit(trained, fake_data())
    assert [record.getMessage() for record in caplog.records] == [
        "epoch   2: 4 of 13 blocks are trained now",
        "epoch   3: 9 of 13 blocks are trained now",
        "epoch   4: all layers are trained now",
    ]


class PowerCut(pl.Callback):
    """Save at the end of an epoch or after one of its batches, and end the run there."""

    def __init__(self, path, epoch, batch=None):
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            self.stop(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            self.stop(trainer)

    def stop(self, trainer):
        trainer.save_checkpoint(self.path)
        raise RuntimeError("power cut")


def resumed(folder, optimizer, **cut):
    """Return a module whose run was cut and resumed, and the frozen layers of each later step."""
    file, first = folder / "last.ckpt", module(optimizer=optimizer)
    callbacks = [Freezing(first.net, "backbone", STAGES), PowerCut(file, **cut)]
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(folder, *callbacks).fit(first, fake_data())
    second, watch = module(optimizer=optimizer), Watch()
    again = trainer(folder, Freezing(second.net, "backbone", STAGES), watch)
    again.fit(second, fake_data(), ckpt_path=file, weights_only=True)
    return second, watch.frozen


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_resumed_before_an_unfreezing_is_the_uninterrupted_run(optimizer, tmp_path):
    whole = module(optimizer=optimizer)
    trainer(tmp_path, Freezing(whole.net, "backbone", STAGES)).fit(whole, fake_data())
    for epoch in (0, 1):
        again, frozen = resumed(tmp_path, optimizer, epoch=epoch)
        assert frozen == [count for count in FROZEN[epoch + 1 :] for _ in range(4)]
        ours, theirs = again.state_dict(), whole.state_dict()
        assert not [key for key in ours if not torch.equal(ours[key], theirs[key])]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_a_run_resumed_in_mid_epoch_has_the_layers_of_that_epoch_frozen(tmp_path):
    assert resumed(tmp_path, "sgd", epoch=1, batch=1)[1] == [10] * 2 + [5] * 4 + [0] * 4


@pytest.mark.parametrize("devices", [1, 2])
def test_with_ddp_layers_may_be_frozen_but_not_unfrozen(devices, tmp_path):
    run, trained = trainer(tmp_path, devices=devices, strategy="ddp"), module()
    with pytest.raises(ValueError, match=r"^model.unfreeze works on one device: .* set trainer"):
        Freezing(trained.net, 3, [[1, 0]]).setup(run, trained, "fit")
    assert trained.net.features[3].training
    Freezing(trained.net, 3).setup(run, trained, "fit")
    assert not trained.net.features[3].training
