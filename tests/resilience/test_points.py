"""A run goes on from each of its checkpoints as if nothing had happened."""

import shutil

import pytest
import torch
from PIL import Image

EVERYTHING = [
    *("ema_decay=0.9", "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=2"),
    *("trainer.gradient_clip_val=0.5", "data.augment.mixup=0.3", "early_stopping=20"),
    "model.dropout=0.3",
]
VARIANTS = {
    "everything": EVERYTHING,
    "bf16": ["trainer.precision=bf16-mixed", "ema_decay=0.9", "trainer.val_check_interval=2"],
    "by steps": ["trainer.max_steps=8", "optimizer=rmsprop", "data.augment.cutmix=0.3"],
    "validation across epochs": [
        *("trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=3"),
        *("trainer.max_epochs=3", "data.augment.crop_padding=2"),
    ],
}


@pytest.fixture
def exact(train, compare, leave_at):
    """exact(run, written, number) -> what differs in the run that goes on from a checkpoint.

    At its end it prints how many it was asked for, and of how many nothing differs.
    """
    tried, same = 0, 0

    def go_on(run, written, number, change=None):
        nonlocal tried, same
        folder = leave_at(run, written[: number + 1], f"{run}_{number}")
        if change is not None:
            checkpoint = torch.load(folder + "/last.ckpt", weights_only=True)
            change(checkpoint)
            torch.save(checkpoint, folder + "/last.ckpt")
        code, out, err = train(f"resume={folder}")
        assert (code, err) == (0, ""), out
        found = compare(run, folder)
        shutil.rmtree(folder)
        if change is None:
            tried, same = tried + 1, same + (not found)
        return found

    yield go_on
    print(f"{same} of {tried} points exact")


def test_a_run_with_everything_goes_on_exactly(train, tiny, points, exact):
    assert train(*tiny, *EVERYTHING, "hydra.run.dir=whole")[0] == 0
    written = list(points)
    names = [path.name.rpartition("_")[2] for path in written]
    assert names.count("best.ckpt") >= 1
    assert names.count("last.ckpt") == 6, "three steps in each of two epochs"
    for number in (0, names.index("last.ckpt"), len(names) - 3):
        assert exact("whole", written, number) == []


@pytest.mark.resilience
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_checkpoint_leads_to_the_same_run(variant, train, tiny, points, exact):
    code, _, err = train(*tiny, *VARIANTS[variant], "hydra.run.dir=whole")
    assert (code, err) == (0, "")
    written = list(points)
    assert len(written) >= 7
    found = {path.name: exact("whole", written, n) for n, path in enumerate(written)}
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.resilience
@pytest.mark.parametrize("workers", [0, 2])
def test_files_and_workers(workers, train, tiny, points, exact, tmp_path):
    torch.manual_seed(0)
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(24):
            pixels = torch.randint(0, 255, (20, 24, 3)).byte().numpy()
            Image.fromarray(pixels).save(tmp_path / "animals" / name / f"{number}.png")
    options = [text for text in tiny if not text.startswith("data")]
    options += ["data=folder", "data.root=animals", "data.image_size=16", "data.batch_size=4"]
    options += [f"data.num_workers={workers}", "ema_decay=0.9", "checkpoint.every_minutes=0"]
    assert train(*options, "hydra.run.dir=whole")[0] == 0
    written = list(points)
    for number in range(1, len(written), 3):
        assert exact("whole", written, number) == []


# What a checkpoint has to hold: without it another run comes of it.


def forget_position(checkpoint):
    checkpoint["ImageDataModule"]["batch"] = 0


def forget_ema(checkpoint):
    state = checkpoint["state_dict"]
    state.update({f"ema.module.{key[4:]}": state[key] for key in state if key.startswith("net.")})


def forget_momentum(checkpoint):
    checkpoint["optimizer_states"][0]["state"] = {}


def forget_schedule(checkpoint):
    for counts in ("total", "current"):
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"][counts]
        progress.update({name: value - 1 for name, value in progress.items()})


def forget_figures(checkpoint):
    for state in checkpoint["train_metrics"][0].values():
        for value in state.values():
            value.zero_()


def forget_best(checkpoint):
    checkpoint["callbacks"]["Checkpoints"]["best"] = 0.99


@pytest.mark.resilience
def test_the_comparison_notices_whatever_is_missing(train, tiny, points, exact):
    options = ["ema_decay=0.9", "optimizer.momentum=0.9"]
    assert train(*tiny, *options, "hydra.run.dir=whole")[0] == 0
    written = list(points)
    number = 3
    assert written[number].name.endswith("last.ckpt")
    assert exact("whole", written, number) == []
    for change in (
        *(forget_position, forget_ema, forget_momentum),
        *(forget_schedule, forget_figures, forget_best),
    ):
        assert exact("whole", written, number, change), change.__name__
