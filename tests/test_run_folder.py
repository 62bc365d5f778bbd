"""A run folder belongs to one run, and to one process at a time."""

import os
import socket
import subprocess
import sys

import pytest

from mobilenets.atomic import remove_partial_files
from mobilenets.run_folder import lock_run_folder, make_run_folder

HOLD = """
import sys, time
from pathlib import Path
from mobilenets.run_folder import lock_run_folder

with lock_run_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that has locked the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    folder = tmp_path / "2026-11-23_10-00-00"
    names = [make_run_folder(folder, is_named=False).name for _ in range(3)]
    assert names == [folder.name, f"{folder.name}_2", f"{folder.name}_3"]


def test_a_folder_locked_by_another_process_is_refused(tmp_path, owner):
    sentence = f"in use by process {owner.pid} on {socket.gethostname()}: wait until it ends"
    with pytest.raises(ValueError, match=sentence), lock_run_folder(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, owner):
    owner.kill()
    owner.wait()
    assert (tmp_path / "lock").read_text().startswith(f"process {owner.pid} ")
    with lock_run_folder(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} ")
    assert not (tmp_path / "lock").exists()


def test_partial_files_are_removed(tmp_path):
    (tmp_path / ".last.ckpt.part").touch()
    (tmp_path / "last.ckpt").touch()
    remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
