"""The promises of a run: exact metrics, EMA, learning rates, and a resume to the same bits."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from mobilenets import create_model, load_model
from mobilenets.data import ImageDataModule, Mixing
from mobilenets.training import (
    Checkpoints,
    Classifier,
    Schedule,
    create_optimizer,
    use_fast_modules,
)
from mobilenets.weights import make_record

OPTIMIZER = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}


def fake_data(**options):
    augment = {"crop_padding": 4, "flip": 0.5, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
    settings = {
        "class_names": None,
        "in_channels": 3,
        "image_size": 16,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "batch_size": 16,
        "num_workers": 0,
        "val_fraction": 0.2,
        "split_seed": 0,
        "augment": augment,
        "num_samples": 105,  # 84 of them are trained on: five batches an epoch
        "num_classes": 7,
    }
    data = ImageDataModule("fake", seed=3, **settings | options)
    data.setup()
    return data


def module(data, *, compiled=False, mixing=None, ema_decay=None, smoothing=0.0):
    torch.manual_seed(5)
    options = {"width_mult": 0.25, "num_classes": data.num_classes, "dropout": 0.3}
    net = use_fast_modules(create_model("mobilenet_v1", **options))
    result = Classifier(
        net,
        data.num_classes,
        optimizer=partial(create_optimizer, **OPTIMIZER),
        schedule=Schedule("cosine", warmup_epochs=1),
        mixing=mixing,
        label_smoothing=smoothing,
        ema_decay=ema_decay,
        seed=3,
        record=make_record(net, data.class_names, data.preprocessing, {"seed": 3}),
    )
    if compiled:
        net.compile(backend="eager")
    return result


def trainer(folder, callbacks=(), **options):
    return pl.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0}
        | options,
        default_root_dir=folder,
        callbacks=[*callbacks, Checkpoints(folder, every_minutes=10)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


class StopAfter(pl.Callback):
    """Ends a run after a number of epochs, as a power cut would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epochs:
            raise RuntimeError("power cut")


def test_a_resumed_run_is_the_uninterrupted_run_to_the_bit(tmp_path):
    options = {"ema_decay": 0.9, "smoothing": 0.1}
    data = fake_data()
    mixing = Mixing(0.2, 1.0, data.num_classes)
    whole = module(data, mixing=mixing, **options)
    trainer(tmp_path / "whole").fit(whole, data)

    first = module(data, mixing=mixing, **options)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(tmp_path / "cut", [StopAfter(2)]).fit(first, fake_data())
    torch.manual_seed(99)  # whatever was drawn meanwhile
    second = module(data, mixing=mixing, **options)
    again = trainer(tmp_path / "cut")
    again.fit(second, fake_data(), ckpt_path=tmp_path / "cut/last.ckpt", weights_only=True)

    assert again.global_step == 3 * 5
    different = [
        key
        for key, value in whole.state_dict().items()
        if not torch.equal(value, second.state_dict()[key])
    ]
    assert not different
    half = first.state_dict()["net.features.0.0.weight"]
    assert not torch.equal(half, second.state_dict()["net.features.0.0.weight"])


@pytest.mark.parametrize(
    "options", [{"ema_decay": 0.9}, pytest.param({"compiled": True}, marks=pytest.mark.slow)]
)
def test_the_checkpoint_gives_the_metrics_of_the_end_of_training(options, tmp_path):
    data = fake_data()
    trained = module(data, **options)
    run = trainer(tmp_path)
    run.fit(trained, data)
    best = tmp_path / "best.ckpt"
    metrics = run.test(trained, data, best, verbose=False, weights_only=True)[0]

    fresh = Classifier(use_fast_modules(load_model(best)), data.num_classes)
    assert trainer(tmp_path).test(fresh, fake_data(), verbose=False)[0] == metrics
    assert set(metrics) == {"test/loss", "test/top1", "test/top5"}


def test_metrics_are_exact_with_a_ragged_last_batch():
    data = fake_data(batch_size=8)
    assert data.sizes["test"] % 8, "the last batch has to be ragged"
    tested = module(data)
    metrics = trainer(None, []).test(tested, data, verbose=False)[0]
    tested.eval()
    logits, labels = [], []
    for batch in data.test_dataloader():
        batch = data.on_after_batch_transfer(batch, 0)
        logits.append(tested(batch.images).detach())
        labels.append(batch.labels)
    logits, labels = torch.cat(logits), torch.cat(labels)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert metrics["test/top1"] == pytest.approx((ranks == 0).float().mean().item())
    assert metrics["test/top5"] == pytest.approx((ranks < 5).float().mean().item())
    assert metrics["test/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    counts = np.zeros((7, 7))
    np.add.at(counts, (labels.numpy(), logits.argmax(1).numpy()), 1)
    assert (tested.confusion_matrix.numpy() == counts).all()


class Evaluated(pl.Callback):
    """Records the logits of each validation batch, and those of the unfolded net."""

    def __init__(self):
        self.logits, self.expected, self.norms = [], [], set()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logits.append(pl_module(batch.images))
        self.expected.append(pl_module.eval_net.eval()(batch.images))
        kinds = {type(layer).__name__ for layer in pl_module.folded.__self__.modules()}
        self.norms |= kinds & {"BatchNorm2d"}


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_every_validation_folds_the_weights_of_that_moment(ema_decay, tmp_path):
    data, seen = fake_data(), Evaluated()
    trained = module(data, ema_decay=ema_decay)
    trainer(tmp_path, [seen], num_sanity_val_steps=1).fit(trained, data)
    assert len(seen.logits) == 1 + 3 * 2 and not seen.norms
    for logits, expected in zip(seen.logits, seen.expected, strict=True):
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(seen.logits[0], seen.logits[-2]), "the weights moved"
    assert trained.folded is None
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert set(content["state_dict"]) == set(trained.state_dict())


def test_top5_is_left_out_with_five_classes_or_fewer(tmp_path):
    data = fake_data(num_classes=5)
    metrics = trainer(tmp_path).test(module(data), data, verbose=False)[0]
    assert set(metrics) == {"test/loss", "test/top1"}


class Rates(pl.Callback):
    """Records the learning rate of every batch."""

    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("length", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 20}])
def test_the_rate_follows_the_schedule_however_the_length_is_given(length, tmp_path):
    data, rates = fake_data(), Rates()
    trainer(tmp_path, [rates], **length).fit(module(data), data)
    schedule, batch = Schedule("cosine", warmup_epochs=1), 1 / 5
    expected = [0.05 * schedule(k * batch, 4, batch) for k in range(20)]
    assert rates.rates == pytest.approx(expected)


class Logged(pl.Callback):
    """Records the learning rate that is logged in every batch."""

    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rates.append(trainer.callback_metrics["lr"].item())


def test_values_are_handed_to_lightning_only_in_the_steps_that_it_writes(tmp_path, monkeypatch):
    data, logged = fake_data(), []
    log = Classifier.log

    def noted(self, name, *args, **options):
        logged.append((self.trainer.global_step, name))
        log(self, name, *args, **options)

    monkeypatch.setattr(Classifier, "log", noted)
    trainer(tmp_path, max_epochs=2, log_every_n_steps=4).fit(module(data), data)
    steps = [entry for entry in logged if entry[1] in ("lr", "train/loss_step")]
    assert steps == [(k, name) for k in (3, 7) for name in ("lr", "train/loss_step")]


def test_the_rate_that_is_logged_is_the_base_rate_even_where_layers_have_their_own(tmp_path):
    data, own, logged = fake_data(), Rates(), Logged()
    trained = module(data)
    trained.optimizer = partial(create_optimizer, **OPTIMIZER, layer_decay=0.5, head_lr_mult=3.0)
    trainer(tmp_path, [own, logged], max_epochs=1, log_every_n_steps=1).fit(trained, data)
    schedule, batch = Schedule("cosine", warmup_epochs=1), 1 / 5
    expected = [0.05 * schedule(k * batch, 1, batch) for k in range(5)]
    assert logged.rates == pytest.approx(expected)
    assert own.rates == pytest.approx([rate * 0.5**14 for rate in expected])  # the stem's


class Weights(pl.Callback):
    """Records one tensor after every batch."""

    def __init__(self):
        self.history = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.history.append(pl_module.net.features[0][0].weight.detach().clone())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_ema_is_updated_with_the_optimizer_not_with_the_batch(accumulate, tmp_path):
    data, seen = fake_data(), Weights()
    trained = module(data, ema_decay=0.5)
    start = trained.net.features[0][0].weight.detach().clone()
    trainer(tmp_path, [seen], max_epochs=1, accumulate_grad_batches=accumulate).fit(trained, data)
    average = start
    steps = [k for k in range(5) if (k + 1) % accumulate == 0 or k == 4]
    for count, k in enumerate(steps, start=1):
        decay = trained.ema.decay_at(count)
        average = decay * average + (1 - decay) * seen.history[k]
    torch.testing.assert_close(trained.ema.module.features[0][0].weight, average)
    assert trained.eval_net is trained.ema.module


def test_a_compiled_net_keeps_its_keys(tmp_path):
    data = fake_data()
    trainer(tmp_path, max_epochs=1).fit(module(data, compiled=True), data)
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert set(content["state_dict"]) == {f"net.{key}" for key in module(data).net.state_dict()}
    assert load_model(tmp_path / "best.ckpt")(torch.zeros(1, 3, 16, 16)).shape == (1, 7)


def test_dropout_depends_on_seed_epoch_and_batch_alone(tmp_path):
    data = fake_data()
    runs = []
    for drawn_before in (1, 100):
        trained, seen = module(data), Weights()
        torch.rand(drawn_before)
        trainer(tmp_path / str(drawn_before), [seen], max_epochs=1).fit(trained, data)
        runs.append(seen.history[-1])
    assert torch.equal(*runs)


def test_label_smoothing_and_mixing_reach_the_loss(monkeypatch):
    data = fake_data()
    trained = module(data, smoothing=0.1, mixing=Mixing(1.0, 0.0, data.num_classes)).eval()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    monkeypatch.setattr(Classifier, "is_logged", False)
    torch.manual_seed(0)
    loss = trained.training_step(batch, 0)
    torch.manual_seed(0)
    images, targets = Mixing(1.0, 0.0, data.num_classes)(batch.images, batch.labels)
    smoothed = targets * 0.9 + 0.1 / data.num_classes
    expected = -(smoothed * trained.net(images).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_trains_and_is_evaluated_as_it_was_trained(precision, tmp_path):
    # At 16 pixels a depthwise convolution goes from 1 x 1 with stride 2, whose bfloat16 gradient
    # PyTorch 2.14 sometimes takes from memory that nothing was written to.
    data = fake_data(image_size=32)
    trained = module(data, ema_decay=0.9, mixing=Mixing(0.2, 1.0, data.num_classes))
    run = trainer(tmp_path, max_epochs=1, precision=precision)
    run.fit(trained, data)
    best = tmp_path / "best.ckpt"
    metrics = run.test(trained, data, best, verbose=False, weights_only=True)[0]
    fresh = Classifier(use_fast_modules(load_model(best)), data.num_classes)
    again = trainer(tmp_path, precision=precision).test(fresh, data, verbose=False)[0]
    assert again == metrics
