"""Private state of Lightning and its kin is used in one file, and does there what it promises."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torchmetrics import MeanMetric

from mobilenets.training.fault_tolerance import lightning_internals
from mobilenets.training.fault_tolerance.lightning_internals import (
    get_log_step,
    get_metric_state,
    is_logging_step,
    restore_metric_state,
)

ROOT = Path(__file__).parents[3]
HOME = Path(lightning_internals.__file__)
PRIVATE = (
    "trainer._",
    "epoch_loop.",
    "epoch_progress",
    "batch_progress",
    "_batches_that_stepped",
    "restarting",
    "is_last_batch",
    "_update_count",
    "metric_state",
    "_step_supports_amp_scaling",
)
# The room below training can't import from it, and its state is two public counters.
ALLOWED = {"mobilenets/data/datamodule.py": {"epoch_progress", "batch_progress"}}


def test_private_state_is_used_in_one_file_only():
    files = [ROOT / "train.py", ROOT / "eval.py", *(ROOT / "mobilenets").rglob("*.py")]
    assert len(files) > 90 and HOME in files
    own = HOME.read_text()
    assert not [name for name in PRIVATE if name not in own], "the list holds what the file uses"
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text().replace("get_metric_state", "").replace("restore_metric_state", "")
        found = {word for word in PRIVATE if word in text} - ALLOWED.get(name, set())
        assert path == HOME or not found, f"{name}: {found}"


def test_a_restored_metric_continues_without_a_warning():
    whole, first, second = MeanMetric(), MeanMetric(), MeanMetric()
    for value in (1.0, 2.0, 6.0):
        whole.update(value)
    first.update(1.0)
    first.update(2.0)
    assert not first.state_dict()
    restore_metric_state(second, get_metric_state(first), torch.device("cpu"))
    assert second.compute() == first.compute()
    second.update(6.0)
    assert second.compute() == whole.compute() == 3


class Watch(pl.Callback):
    """Records which batches are logged, and the numbers of the steps."""

    def __init__(self):
        self.logged, self.at_batches, self.at_validations = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.logged.append(is_logging_step(trainer))
        self.at_batches.append((get_log_step(trainer), trainer.global_step))

    def on_validation_start(self, trainer, pl_module):
        self.at_validations.append((get_log_step(trainer), trainer.global_step))


def test_a_step_is_logged_under_one_number_until_its_validation_has_ended(run_scripted):
    watch = Watch()
    options = {"log_every_n_steps": 3, "accumulate_grad_batches": 2, "max_epochs": 2}
    run_scripted([0.5, 0.5], [watch], enable_checkpointing=False, **options)
    assert watch.logged == [False] * 4 + [True] * 2 + [False] * 2, "the third of four steps"
    assert watch.at_batches == [(step, step) for step in range(4) for _ in range(2)]
    assert watch.at_validations == [(1, 2), (3, 4)]
