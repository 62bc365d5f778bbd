"""When a run is saved, and which weights are the best."""

import pytest
import torch

from mobilenets.training import AtomicCheckpointIO, Checkpoints


@pytest.fixture
def written(monkeypatch):
    """The (name, steps) of every file that is written, and whether its weights are of that step."""
    names = []
    save = AtomicCheckpointIO.save_checkpoint

    def note(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        content = torch.load(path, weights_only=True)
        steps = content["global_step"]
        accumulated = content["state_dict"]["weight"]
        assert accumulated == steps, "the weights are those of the step"
        names.append((path.name, steps))

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", note)
    return names


@pytest.fixture
def run(run_scripted, tmp_path):
    """run(scores) -> the Checkpoints callback of a run into tmp_path."""

    def scripted(scores, every_minutes=10.0, **options):
        checkpoints = Checkpoints(tmp_path, every_minutes=every_minutes)
        run_scripted(scores, [checkpoints], plugins=[AtomicCheckpointIO()], **options)
        return checkpoints

    return scripted


def test_every_epoch_is_saved_and_the_best_is_the_highest_validation_accuracy(
    run, tmp_path, written
):
    checkpoints = run([0.2, 0.7, 0.5, 0.6])
    assert written == [
        ("best.ckpt", 4), ("last.ckpt", 4), ("best.ckpt", 8), ("last.ckpt", 8),
        ("last.ckpt", 12), ("last.ckpt", 16),
    ]  # fmt: skip
    assert checkpoints.best == pytest.approx(0.7)
    assert checkpoints.checkpoint_to_test() == tmp_path / "best.ckpt"


def test_within_an_epoch_it_is_saved_by_the_clock(run, written):
    run([0.5], every_minutes=0)
    assert [steps for _, steps in written] == [1, 2, 3, 4, 4]


def test_no_step_is_saved_before_it_is_complete(run, written):
    run([0.5], every_minutes=0, accumulate_grad_batches=2)
    assert {steps for _, steps in written} == {1, 2}


def test_the_best_within_an_epoch_is_what_was_validated(run, written):
    run([0.5, 0.1, 0.6, 0.2], max_epochs=2, val_check_interval=2)
    assert written == [
        ("best.ckpt", 2), ("last.ckpt", 2), ("last.ckpt", 4), ("best.ckpt", 6), ("last.ckpt", 6),
        ("last.ckpt", 8),
    ]  # fmt: skip


def test_a_validation_in_the_middle_of_a_step_is_refused(run):
    with pytest.raises(ValueError, match="val_check_interval=1 validates in the middle of a step"):
        run([0.5] * 4, val_check_interval=1, accumulate_grad_batches=2)
    run([0.5], accumulate_grad_batches=3)  # the last step of an epoch is a shorter one


def test_without_validation_the_last_is_tested(run, tmp_path, written):
    checkpoints = run([], max_epochs=1, limit_val_batches=0)
    assert written == [("last.ckpt", 4)]
    assert checkpoints.checkpoint_to_test() == tmp_path / "last.ckpt"


def test_a_trial_run_saves_nothing(run, tmp_path):
    assert run([0.5], fast_dev_run=True).checkpoint_to_test() is None
    assert not list(tmp_path.iterdir())
