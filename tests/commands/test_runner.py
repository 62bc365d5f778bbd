"""Commands as their users meet them: in a process of their own, around a main of a few lines."""

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from mobilenets.config import restore_config
from mobilenets.config.compose import CONFIGS

NETS = sorted(path.stem for path in CONFIGS.glob("model/*.yaml"))
TRAIN = """
import logging, sys, zipfile
from mobilenets.commands.runner import command, run_folder
from mobilenets.config import TrainConfig

@command("train", TrainConfig)
def train(config):
    heavy = {"torch", "torchvision", "pytorch_lightning", "timm", "numpy", "sklearn"}
    logging.getLogger("mobilenets").info(f"folder {run_folder()}")
    print("heavy", sorted(heavy & set(sys.modules)), "resume", config.resume)
    exec(FAILURE)
    zipfile.ZipFile(run_folder() / "last.ckpt", "w").close()

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
"""
EVAL = """
import sys
from mobilenets.commands.runner import command, run_folder
from mobilenets.config import EvalConfig

@command("eval", EvalConfig)
def evaluate(config):
    print(config.checkpoint, run_folder())

sys.exit(evaluate(sys.argv[1:]))
"""


@pytest.fixture
def script(tmp_path):
    """Runs a script with arguments in tmp_path; `failure` is a statement that its main executes."""

    def call(*arguments, name="train.py", failure="", **environment):
        text = EVAL if name == "eval.py" else TRAIN.replace("FAILURE", repr(failure))
        (tmp_path / name).write_text(text)
        return subprocess.run(
            [sys.executable, "-W", "error", name, *arguments],
            cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True,
        )  # fmt: skip

    return call


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_importing_the_config_loads_nothing_heavy():
    code = (
        "import sys, mobilenets.config; "
        "print(*{'torch', 'pytorch_lightning', 'timm', 'numpy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_run_has_its_folder_config_and_log(script, tmp_path):
    done = script("model.width_mult=1", "seed=3")
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = tmp_path.glob("runs/digits/mobilenet_v1_1.0/20*")
    assert files(folder) == ["config.yaml", "last.ckpt", "train.log"]
    config = restore_config(OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")))
    assert (config.seed, config.model.width_mult) == (3, 1.0)
    assert done.stdout.splitlines()[0] == f"folder {folder}"  # the console has the message only
    log = (folder / "train.log").read_text()
    assert log.startswith("20") and log.endswith(f" INFO folder {folder}\n")
    assert "heavy [] " in done.stdout


def test_problems_are_listed_before_anything_is_made(script, tmp_path):
    done = script("trainer.max_epoch=3", "--epochs", "model=mobilenet_2", "optimizer.lr=-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: --epochs: there is no such flag; settings are written setting=value",
        f"error: model=mobilenet_2: unknown; did you mean mobilenet_v2? Choices: {', '.join(NETS)}",
        "error: trainer.max_epoch: did you mean trainer.max_epochs?",
        "error: optimizer.lr: -1 is out of range (above 0)",
    ]
    assert files(tmp_path) == ["train.py"]


def test_help_answers(script, tmp_path):
    done = script("--help", "model=mobilenet_v2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "model.stages=" in done.stdout
    assert files(tmp_path) == ["train.py"]


def test_the_config_can_be_printed(script, tmp_path):
    done = script("--cfg", "job", "--resolve", "data=folder", "data.strides=cifar")
    assert (done.returncode, done.stderr) == (0, "")
    assert OmegaConf.create(done.stdout).model.strides == "cifar"
    assert files(tmp_path) == ["train.py"]


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ("raise ValueError('data.root: no class folder')", "data.root: no class folder"),
        ("open('/no/such/file')", "/no/such/file: No such file or directory"),
        ("raise ImportError('onnx: pip install x')", "onnx: pip install x"),
        (
            "raise type('MisconfigurationException', (Exception,), {})('no GPU here')",
            "no GPU here",
        ),
    ],
)
def test_a_mistake_found_later_is_one_line_and_leaves_nothing(script, tmp_path, failure, sentence):
    done = script(failure=failure)
    assert (done.returncode, done.stderr) == (1, f"error: {sentence}\n")
    assert files(tmp_path) == ["train.py"]


def test_a_failed_run_keeps_what_it_made(script, tmp_path):
    failure = "(run_folder() / 'best.ckpt').touch(); raise ValueError('disk full')"
    assert script("hydra.run.dir=x", failure=failure).returncode == 1
    assert files(tmp_path / "x") == ["best.ckpt", "config.yaml", "train.log"]


@pytest.mark.parametrize(
    ("failure", "environment"),
    [("1 / 0", {}), ("raise ValueError('division by zero')", {"HYDRA_FULL_ERROR": "1"})],
)
def test_a_bug_shows_its_traceback(script, failure, environment):
    done = script(failure=failure, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("Error: division by zero\n")


def test_an_interrupt_is_said(script):
    done = script(failure="raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_run_never_overwrites_another(script, tmp_path):
    assert script("hydra.run.dir=mine").returncode == 0
    before = (tmp_path / "mine" / "config.yaml").read_text()
    done = script("hydra.run.dir=mine", "seed=5")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: hydra.run.dir={tmp_path}/mine already holds a run: choose another folder, "
        f"or resume it with resume={tmp_path}/mine\n",
    )
    assert (tmp_path / "mine" / "config.yaml").read_text() == before


def test_a_folder_that_cannot_be_made_is_one_line(script, tmp_path):
    (tmp_path / "file").touch()
    done = script("hydra.run.dir=file/run")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: hydra.run.dir: can't make {tmp_path}/file/run: Not a directory\n",
    )


def test_a_run_is_resumed_in_its_folder(script, tmp_path):
    script("hydra.run.dir=a run", "data=cifar10", "seed=3")
    before = (tmp_path / "a run" / "config.yaml").read_text()
    done = script("resume=a run", "trainer.max_epochs=30")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f" resume {tmp_path}/a run/last.ckpt\n")
    assert (tmp_path / "a run" / "config.yaml").read_text() == before
    assert files(tmp_path) == [f"a run/{n}" for n in ("config.yaml", "last.ckpt", "train.log")] + [
        "train.py"
    ]


def test_lightnings_other_processes_get_the_job_of_the_first_and_write_nothing(script, tmp_path):
    """They are started with its command line and its environment, which holds the job."""
    start = "os.system(f'LOCAL_RANK=1 {sys.executable} train.py --multirun seed=1,2')"
    first = f"import os; os.environ.get('LOCAL_RANK') or {start}"
    for words in (["hydra.run.dir=a run", "seed=3"], ["resume=a run", "trainer.max_epochs=30"]):
        done = script(*words, failure=first)
        assert (done.returncode, done.stderr) == (0, "")
        (said,) = {line for line in done.stdout.splitlines() if line.startswith("heavy")}
        assert said.endswith("last.ckpt") == words[0].startswith("resume")
    assert files(tmp_path / "a run") == ["config.yaml", "last.ckpt", "train.log"]
    assert not (tmp_path / "runs").exists()


def test_an_error_of_several_processes_is_said_once(script, tmp_path):
    start = "os.system(f'LOCAL_RANK=1 {sys.executable} train.py')"
    start = f"os.environ.setdefault('WORLD_SIZE', '2') and {start}"
    failure = f"import os; os.environ.get('LOCAL_RANK') or {start}; raise ValueError('no images')"
    done = script("hydra.run.dir=x", failure=failure)
    assert (done.returncode, done.stderr) == (1, "error: no images\n")
    assert not (tmp_path / "x").exists()
    done = script("lr=3", RANK="1", WORLD_SIZE="2")
    assert (done.returncode, done.stderr) == (2, ""), "torchrun's first process says it"


def test_torchrun_needs_a_folder_that_its_processes_know(script):
    done = script(TORCHELASTIC_RUN_ID="1", RANK="0", WORLD_SIZE="1")
    assert (done.returncode, done.stderr) == (
        2,
        "error: hydra.run.dir: needs a value, so that torchrun's processes share it\n",
    )


def test_a_sweep_goes_on_after_a_mistake_and_says_so_at_the_end(script, tmp_path):
    done = script(
        "seed=1,2", "-m", "model=mobilenet_v1,mobilenet_v2", failure="config.seed == 2 or 1 / 1; "
        "config.seed == 1 and open('/no/such/file')",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: /no/such/file: No such file or directory\n" * 2
    (sweep,) = tmp_path.glob("runs/multirun/20*")
    assert files(sweep) == [
        *(f"{job}/{name}" for job in (2, 3) for name in ("config.yaml", "last.ckpt", "train.log"))
    ]


def test_a_sweep_with_a_problem_does_not_begin(script, tmp_path):
    done = script("--multirun", "model.width_mult=0.5,-1")
    assert (done.returncode, done.stderr) == (
        2,
        "error: model.width_mult: -1 is out of range (above 0)\n",
    )
    assert files(tmp_path) == ["train.py"]


def test_eval_writes_no_folder(script, tmp_path):
    done = script("checkpoint=best.ckpt", name="eval.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"best.ckpt {tmp_path}\n"
    done = script(name="eval.py")
    assert done.returncode == 2
    assert done.stderr.startswith("error: checkpoint: needs a value, e.g. checkpoint=")
    assert files(tmp_path) == ["eval.py"]


def test_own_choices_come_from_a_folder_of_ones_own(script, tmp_path):
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "tiny.yaml").write_text(
        "defaults: [fake, _self_]\nnum_samples: 7\n"
    )
    done = script("data=tiny", "--config-dir", "mine", "hydra.run.dir=x")
    assert (done.returncode, done.stderr) == (0, "")
    assert OmegaConf.load(tmp_path / "x" / "config.yaml").data.num_samples == 7
    done = script("data=tiny", "--config-dir", "nowhere")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --config-dir: there is no folder nowhere\n",
    )


def test_the_folders_of_a_sweep_may_be_named(script, tmp_path):
    folders = ["hydra.sweep.dir=my sweep", "hydra.sweep.subdir=${hydra.job.num}_${seed}"]
    assert script("-m", "seed=5,7", *folders).returncode == 0
    assert sorted(path.name for path in (tmp_path / "my sweep").iterdir()) == ["0_5", "1_7"]


def test_folders_that_were_there_before_stay(script, tmp_path):
    (tmp_path / "empty").mkdir()
    failure = "raise ValueError('no images')"
    assert script("hydra.run.dir=empty/new/run", failure=failure).returncode == 1
    assert list(tmp_path.glob("empty/*")) == [] and (tmp_path / "empty").is_dir()
    assert script("hydra.run.dir=empty", failure=failure).returncode == 1
    assert (tmp_path / "empty").is_dir()


def test_flags_that_hydra_had_are_answered(script):
    for word in ("--info", "--hydra-help", "--config-name=x"):
        done = script(word)
        assert done.returncode == 2
        assert done.stderr == (
            f"error: {word}: there is no such flag; settings are written setting=value\n"
        )
