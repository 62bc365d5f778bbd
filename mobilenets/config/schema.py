"""The settings of train.py, eval.py and scripts/: name, type, meaning and range of each.

The values stand in configs/train.yaml, configs/eval.yaml, ... and the groups' files beside them.
"""

# ruff: noqa: RUF009 (`setting` is dataclasses.field, with metadata)
import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

from mobilenets.config.groups import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    setting,
)

# trainer=

Precision = Literal[
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true",
    "transformer-engine", "transformer-engine-float16", "32", "16", "bf16", "64", 32, 16, 64,
]  # fmt: skip
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer, handed over as they are."""

    accelerator: Accelerator = setting("kind of device")
    strategy: str = setting("how several devices share the work: auto, ddp, fsdp, ...")
    devices: int | list[int] | str = setting("how many devices, or which: 2, [0,3], auto")
    num_nodes: int = setting("machines", at_least=1)
    precision: Precision | None = setting("number format; null = 32-true")
    max_epochs: int | None = setting("epochs to train; -1 = no end", at_least=-1)
    min_epochs: int | None = setting("epochs before early stopping may end a run", at_least=0)
    max_steps: int = setting("optimizer steps to train; -1 = no limit", at_least=-1)
    min_steps: int | None = setting("steps before early stopping may end a run", at_least=0)
    max_time: str | None = setting("time to train, as DD:HH:MM:SS")
    limit_train_batches: int | float | None = setting(
        "only so many batches (2), or a share (0.1)", at_least=0
    )
    limit_val_batches: int | float | None = setting("the same, of validation", at_least=0)
    limit_test_batches: int | float | None = setting("the same, of the test", at_least=0)
    limit_predict_batches: int | float | None = setting("the same, of prediction", at_least=0)
    overfit_batches: int | float = setting("train and validate on so many only", at_least=0)
    fast_dev_run: bool | int = setting("a trial of one batch (or so many), saving nothing")
    val_check_interval: int | float | str | None = setting(
        "validate after so many batches, a share, a time", at_least=0
    )
    check_val_every_n_epoch: int | None = setting("epochs between validations", at_least=1)
    num_sanity_val_steps: int | None = setting("validation batches before training", at_least=-1)
    log_every_n_steps: int | None = setting("steps between logged values", at_least=0)
    enable_progress_bar: bool | None = setting("null = on a terminal")
    enable_autolog_hparams: bool = setting("let Lightning log hyper-parameters")
    accumulate_grad_batches: int = setting("batches that add up to one step", at_least=1)
    gradient_clip_val: int | float | None = setting("largest gradient; null = no limit", at_least=0)
    gradient_clip_algorithm: Literal["norm", "value"] | None = setting(
        "what is limited; null = norm"
    )
    deterministic: bool | Literal["warn"] | None = setting("only deterministic operations")
    benchmark: bool | None = setting("let cuDNN look for the fastest algorithms")
    inference_mode: bool = setting("torch.inference_mode, not no_grad, in evaluation")
    sync_batchnorm: bool = setting("BatchNorm over the batches of all devices")
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = setting("measure a run")
    detect_anomaly: bool = setting("find the operation that made a NaN; slow")
    barebones: bool = setting("bare loop to measure Lightning's own cost")

    def options(self) -> dict[str, Any]:
        """What `pytorch_lightning.Trainer` takes."""
        return {
            **dataclasses.asdict(self),
            "enable_progress_bar": _on_terminal(self.enable_progress_bar),
        }

    def limits(self) -> list[Any]:
        """What ends a run."""
        return [self.max_epochs, self.max_steps, self.max_time]


def _on_terminal(enabled: bool | None) -> bool:
    return sys.stdout.isatty() if enabled is None else enabled


# hardware


@dataclass
class HardwareConfig:
    """How the process uses the machine."""

    tune: bool = setting("set up malloc, threads, TF32 and cuDNN for speed; compile kernels")


# checkpoint


@dataclass
class CheckpointConfig:
    """What is kept to go on from."""

    every_minutes: float = setting(
        "minutes between saves of last.ckpt within an epoch; 0 = after every step", at_least=0
    )


# train.py


@dataclass
class TrainConfig:
    """One training run."""

    seed: int = setting("draws weights, order and augmentation", at_least=0, at_most=2**32 - 1)
    label_smoothing: float = setting(
        "share of a target spread over all classes", at_least=0, below=1
    )
    ema_decay: float | None = setting(
        "evaluate and save an average of the weights", above=0, below=1
    )
    early_stopping: int | None = setting(
        "end after so many validations without a better val/top1", at_least=1
    )
    quantization_aware: bool = setting("train and evaluate as if in int8 (experiment=qat)")
    channels_last: bool = setting("memory format; faster for both nets")
    compile: bool = setting("torch.compile the net")
    resume: str | None = setting(
        "run folder, or a .ckpt in it: go on with that run; auto = with hydra.run.dir, if it is one"
    )
    model: ModelConfig = setting("the net")
    data: DataConfig = setting("the images")
    optimizer: OptimizerConfig = setting("the optimizer")
    schedule: ScheduleConfig = setting("the learning rate over the run")
    trainer: TrainerConfig = setting("Lightning's Trainer, its arguments as they are")
    checkpoint: CheckpointConfig = setting("how often the run is saved")
    hardware: HardwareConfig = setting("the use of the machine")


# eval.py


@dataclass
class SavedDataConfig:
    """The data of the run that made a checkpoint, elsewhere or faster; null = as there."""

    root: str | None = setting("folder of the data")
    batch_size: int | None = setting("images in a step", at_least=1)
    num_workers: int | None = setting("processes that load images", at_least=0)
    verify: bool | None = setting("check the archive's checksums")
    on_bad_image: Literal["error", "skip"] | None = setting("end, or leave them out and say so")

    def over(self, trained: DataConfig) -> dict[str, Any]:
        """What `ImageDataModule` takes: the options of training with these laid over them.

        Raises:
            ValueError: the data has no setting of that name.
        """
        options = trained.options()
        for key, value in vars(self).items():
            if value is not None and key not in options:
                raise ValueError(f"data.{key}: {trained.name} has no such setting; leave it out")
            if value is not None:
                options[key] = value
        return options


@dataclass
class EvalDataConfig(SavedDataConfig):
    """What may differ from training; null = as there."""

    image_size: int | None = setting("height and width that the net sees", at_least=1)
    crop_pct: float | None = setting("centre crop / resized image", above=0, at_most=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = setting("of all resizing")
    mean: list[float] | None = setting("of each channel", at_least=0, at_most=1)
    std: list[float] | None = setting("of each channel", above=0)


@dataclass
class EvalTrainerConfig:
    """Where and how to run the net."""

    accelerator: Accelerator = setting("kind of device")
    devices: int | list[int] | str = setting("how many devices, or which: 2, [0,3], auto")
    precision: Precision | None = setting("number format; null = as in training")
    enable_progress_bar: bool | None = setting("null = on a terminal")

    def over(self, trained: TrainerConfig) -> dict[str, Any]:
        """What `pytorch_lightning.Trainer` takes, in the precision of training if none is set."""
        return {
            **vars(self),
            "precision": self.precision or trained.precision,
            "benchmark": False,
            "enable_progress_bar": _on_terminal(self.enable_progress_bar),
        }


@dataclass
class EvalHardwareConfig:
    """How the process uses the machine."""

    tune: bool | None = setting("set up malloc, threads and TF32 for speed; null = as in training")

    def over(self, trained: HardwareConfig) -> bool:
        """Whether to tune: as in training, for the same bits, if nothing is set."""
        return trained.tune if self.tune is None else self.tune


@dataclass
class EvalConfig:
    """One evaluation of a checkpoint."""

    checkpoint: str = setting(
        "a .ckpt, or a run folder (its best.ckpt)", example="runs/digits/mobilenet_v1_1.0/..."
    )
    split: Literal["test", "val", "train"] = setting("images to evaluate on")
    output: str | None = setting("JSON file; null = eval_<split>.json beside the checkpoint")
    data: EvalDataConfig = setting("the data of the run, elsewhere or faster")
    trainer: EvalTrainerConfig = setting("where and how to run the net")
    hardware: EvalHardwareConfig = setting("the use of the machine")


# scripts/export.py

ExportFormat = Literal[
    "onnx", "torch_export", "executorch", "litert", "coreml", "openvino", "safetensors"
]


@dataclass
class ExportConfig:
    """One export of a checkpoint."""

    checkpoint: str = setting(
        "a run folder, a .ckpt, or any file of weights", example="runs/digits/mobilenet_v1_1.0/..."
    )
    format: list[ExportFormat] = setting("one or several: a,b", example="onnx,executorch")
    quantize: Literal["int8"] | None = setting("int8 weights and activations: onnx, executorch")
    preprocess: bool = setting("resize and normalise in the graph: uint8 (N, H, W, C) of any size")
    output: str | None = setting("folder of the files; null = export/ beside the checkpoint")
    max_drop: float = setting("points of top-1 that int8 may lose", at_least=0)
    split: Literal["val", "test", "train"] = setting("images that the files are checked on")
    num_images: int = setting("so many of them at most", at_least=1)
    calibration_images: int = setting("training images that int8's ranges come from", at_least=1)
    images: str | None = setting("folder of images to check on, for weights without a run")
    threads: int | None = setting("of every runtime; null = as many as torch takes", at_least=1)
    data: SavedDataConfig = setting("the data of the run, elsewhere or faster")


# scripts/predict.py


@dataclass
class PredictConfig:
    """Predictions for pictures."""

    checkpoint: str = setting(
        "a run folder, a .ckpt, or any file of weights", example="runs/digits/mobilenet_v1_1.0/..."
    )
    input: list[str] = setting(
        "files, folders, patterns, videos; - = paths on standard input", example="photos"
    )
    topk: int = setting("classes of each picture", at_least=1)
    format: Literal["table", "csv", "jsonl"] = setting("of the lines")
    output: str | None = setting("file of the lines; null = standard output")
    overlay: str | None = setting("folder for pictures with the answer on them")
    cam: bool = setting("with a heat map of what speaks for the class (Grad-CAM)")
    cam_layer: str | None = setting("whose map that is, e.g. features.5; null = the last")
    backend: Literal["auto", "eager", "channels_last", "folded", "compiled", "onnxruntime"] = (
        setting("what runs the net; auto = the fastest that is installed and agrees")
    )
    batch_size: int = setting("pictures in a step", at_least=1)
    num_threads: int | None = setting("that decode pictures; null = one a CPU", at_least=1)
    frames_per_second: float = setting("of a video that are looked at", above=0)
