"""Scripts as users run them: each in its own process, around a `main` of a few lines."""

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from mobilenets.config import restore_config
from mobilenets.config.groups import CHOICES, ModelConfig

HEAVY = {"torch", "torchvision", "pytorch_lightning", "timm", "numpy", "sklearn"}
TRAIN = f"""
import logging, sys, zipfile
from mobilenets.config import TrainConfig, entry_point, run_folder

@entry_point("train", TrainConfig)
def main(config):
    logging.getLogger("mobilenets").info(f"folder {{run_folder()}}")
    heavy = sorted({HEAVY} & set(sys.modules))
    print("heavy", heavy, "argv", sys.argv[1:], "resume", config.resume)
    exec(FAILURE)
    zipfile.ZipFile(run_folder() / "last.ckpt", "w").close()

if __name__ == "__main__":
    main()
"""
EVAL = """
from mobilenets.config import EvalConfig, entry_point, run_folder

@entry_point("eval", EvalConfig)
def main(config):
    print(config.checkpoint, run_folder())

main()
"""


@pytest.fixture
def script(tmp_path):
    """Run a script with arguments in tmp_path; its main executes the statement `failure`."""

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


@pytest.fixture
def light(tmp_path_factory):
    """An environment in which a process that imports a heavy package ends at once."""
    folder = tmp_path_factory.mktemp("heavy")
    for name in HEAVY:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} is imported')")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def test_problems_are_listed_before_torch_is_imported_or_anything_made(script, tmp_path, light):
    mistakes = ["trainer.max_epoch=3", "--epochs", "model=mobilenet_2", "optimizer.lr=-1"]
    done = script(*mistakes, **light)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: --epochs: there is no such flag; settings are written setting=value",
        "error: model=mobilenet_2: unknown; did you mean mobilenet_v2? "
        f"Choices: {', '.join(sorted(CHOICES[ModelConfig]))}",
        "error: trainer.max_epoch: did you mean trainer.max_epochs?",
        "error: optimizer.lr: -1 is out of range (above 0)",
    ]
    assert files(tmp_path) == ["train.py"]


def test_help_answers_before_torch_is_imported(script, tmp_path, light):
    done = script("--help", "model=mobilenet_v2", **light)
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
def test_an_error_in_main_is_one_line_and_leaves_no_files(script, tmp_path, failure, sentence):
    done = script(failure=failure)
    assert (done.returncode, done.stderr) == (1, f"error: {sentence}\n")
    assert files(tmp_path) == ["train.py"]


def test_a_failed_run_keeps_its_checkpoints(script, tmp_path):
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
    assert "Set the environment variable" not in done.stderr


def test_an_interrupt_is_reported(script):
    done = script(failure="raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_run_never_overwrites_another(script, tmp_path):
    assert script("hydra.run.dir=mine").returncode == 0
    before = (tmp_path / "mine" / "config.yaml").read_text()
    done = script("hydra.run.dir=mine", "seed=5")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: hydra.run.dir={tmp_path}/mine already contains a run: choose another folder, "
        f"or resume the run with resume={tmp_path}/mine\n",
    )
    assert (tmp_path / "mine" / "config.yaml").read_text() == before


def test_a_folder_that_cannot_be_made_is_one_line(script, tmp_path):
    (tmp_path / "file").touch()
    done = script("hydra.run.dir=file/run")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: hydra.run.dir: can't create {tmp_path}/file/run: Not a directory\n",
    )


def test_a_run_is_resumed_in_its_folder(script, tmp_path):
    script("hydra.run.dir='a run'", "data=cifar10", "seed=3")
    before = (tmp_path / "a run" / "config.yaml").read_text()
    done = script("resume='a run'", "trainer.max_epochs=30")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f" resume {tmp_path}/a run/last.ckpt\n")
    assert (tmp_path / "a run" / "config.yaml").read_text() == before
    assert files(tmp_path) == [f"a run/{n}" for n in ("config.yaml", "last.ckpt", "train.log")] + [
        "train.py"
    ]


def test_other_processes_of_a_run_share_its_folder_and_write_nothing(script, tmp_path):
    for first in (["hydra.run.dir='a run'", "seed=3"], ["resume='a run'", "trainer.devices=2"]):
        done = script(*first)
        command = eval(done.stdout.partition("argv ")[2].partition(" resume")[0])
        (tmp_path / "a run" / "config.yaml").touch()
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a run").iterdir()}
        again = script(*command, failure="sys.exit()", LOCAL_RANK="1")  # as Lightning's ddp does
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout.splitlines() == done.stdout.splitlines()[1:]
        assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a run").iterdir()}


def test_torchrun_needs_a_folder_that_its_processes_know(script):
    done = script(TORCHELASTIC_RUN_ID="1", RANK="1")
    assert (done.returncode, done.stderr) == (
        2,
        "error: hydra.run.dir: needs a value, so that torchrun's processes share it\n",
    )


def test_a_sweep_continues_after_an_error_and_exits_with_1(script, tmp_path):
    done = script(
        "seed=1,2", "-m", "model=mobilenet_v1,mobilenet_v2", failure="config.seed == 2 or 1 / 1; "
        "config.seed == 1 and open('/no/such/file')",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: /no/such/file: No such file or directory\n" * 2
    (sweep,) = tmp_path.glob("runs/multirun/20*")
    assert files(sweep) == [
        *(f"{job}/{name}" for job in (2, 3) for name in ("config.yaml", "last.ckpt", "train.log")),
        "multirun.yaml",
    ]


def test_a_sweep_with_a_problem_does_not_start(script, tmp_path):
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


def test_config_dir_adds_choices(script, tmp_path):
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
