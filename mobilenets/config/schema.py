"""The settings of train.py, eval.py and scripts/: the type, meaning and range of each.

The values stand in configs/train.yaml, configs/eval.yaml, ... and in the folders of the groups.
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
    """Arguments of Lightning's Trainer, passed on unchanged."""

    accelerator: Accelerator = setting("type of device")
    strategy: str = setting("how to train on several devices: auto, ddp, fsdp, ...")
    devices: int | list[int] | str = setting("number of devices, or which ones: 2, [0,3], auto")
    num_nodes: int = setting("number of machines", at_least=1)
    precision: Precision | None = setting("floating-point precision; null = 32-true")
    max_epochs: int | None = setting("maximum number of epochs; -1 = no limit", at_least=-1)
    min_epochs: int | None = setting("minimum number of epochs, for early stopping", at_least=0)
    max_steps: int = setting("maximum number of optimizer steps; -1 = no limit", at_least=-1)
    min_steps: int | None = setting("minimum number of steps, for early stopping", at_least=0)
    max_time: str | None = setting("maximum time, as DD:HH:MM:SS")
    limit_train_batches: int | float | None = setting(
        "training batches per epoch: a number (2) or a fraction (0.1)", at_least=0
    )
    limit_val_batches: int | float | None = setting("likewise for validation", at_least=0)
    limit_test_batches: int | float | None = setting("likewise for the test", at_least=0)
    overfit_batches: int | float = setting(
        "train and validate on the same few batches: a number or a fraction", at_least=0
    )
    fast_dev_run: bool | int = setting("try one batch (or a number of them) and save nothing")
    val_check_interval: int | float | str | None = setting(
        "time between validations: batches, a fraction of an epoch, or DD:HH:MM:SS", at_least=0
    )
    check_val_every_n_epoch: int | None = setting("epochs between validations", at_least=1)
    num_sanity_val_steps: int | None = setting("validation batches before training", at_least=-1)
    log_every_n_steps: int | None = setting("steps between logged values", at_least=0)
    enable_progress_bar: bool | None = setting("show a progress bar; null = on a terminal")
    accumulate_grad_batches: int = setting("batches per optimizer step", at_least=1)
    gradient_clip_val: int | float | None = setting(
        "maximum gradient; null = no clipping", at_least=0
    )
    gradient_clip_algorithm: Literal["norm", "value"] | None = setting(
        "clip the norm or each value; null = norm"
    )
    deterministic: bool | Literal["warn"] | None = setting("use deterministic operations only")
    benchmark: bool | None = setting("let cuDNN search for the fastest algorithms")
    inference_mode: bool = setting("evaluate in torch.inference_mode, otherwise in no_grad")
    sync_batchnorm: bool = setting("compute BatchNorm's statistics over all devices")
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = setting("profile the run")
    detect_anomaly: bool = setting("find the operation that produced a NaN; slow")

    def options(self) -> dict[str, Any]:
        """Return the arguments of `pytorch_lightning.Trainer`."""
        return {
            **dataclasses.asdict(self),
            "enable_progress_bar": _is_bar_enabled(self.enable_progress_bar),
        }

    def limits(self) -> list[Any]:
        """Return the settings that end a run."""
        return [self.max_epochs, self.max_steps, self.max_time]


def _is_bar_enabled(setting: bool | None) -> bool:
    return sys.stdout.isatty() if setting is None else setting


# hardware


@dataclass
class HardwareConfig:
    """How training uses the machine."""

    tune: bool = setting("tune malloc, threads, TF32 and cuDNN for speed; compile kernels")


# checkpoint


@dataclass
class CheckpointConfig:
    """How often a run is saved."""

    every_minutes: float = setting(
        "minutes between saves of last.ckpt during an epoch; 0 = after every step", at_least=0
    )


# train.py


@dataclass
class TrainConfig:
    """One training run."""

    seed: int = setting(
        "seed of the weights, the order and the augmentation", at_least=0, at_most=2**32 - 1
    )
    label_smoothing: float = setting(
        "fraction of each target spread over all classes", at_least=0, below=1
    )
    ema_decay: float | None = setting(
        "decay of an EMA of the weights, which is evaluated and saved; null = none",
        above=0,
        below=1,
    )
    early_stopping: int | None = setting(
        "stop after this number of validations without a better val/top1", at_least=1
    )
    quantization_aware: bool = setting("simulate int8 in training and evaluation (experiment=qat)")
    channels_last: bool = setting("use the channels_last memory format; faster for both nets")
    compile: bool = setting("torch.compile the net")
    resume: str | None = setting(
        "run folder, or .ckpt in one, of the run to resume; auto = resume or start hydra.run.dir"
    )
    model: ModelConfig = setting("the net")
    data: DataConfig = setting("the images")
    optimizer: OptimizerConfig = setting("the optimizer")
    schedule: ScheduleConfig = setting("the learning-rate schedule")
    trainer: TrainerConfig = setting("arguments of Lightning's Trainer")
    checkpoint: CheckpointConfig = setting("how often the run is saved")
    hardware: HardwareConfig = setting("how training uses the machine")


# eval.py


@dataclass
class SavedDataConfig:
    """Changes to the data settings of a checkpoint's run; null = no change."""

    root: str | None = setting("folder of the data")
    batch_size: int | None = setting("images per step", at_least=1)
    num_workers: int | None = setting("processes that load images", at_least=0)
    verify: bool | None = setting("verify the archive's checksums")
    on_bad_image: Literal["error", "skip"] | None = setting(
        "error stops; skip leaves the image out and reports it"
    )

    def merge_with(self, trained: DataConfig) -> dict[str, Any]:
        """Return the arguments of `ImageDataModule`: those of training with these changes.

        Raises:
            ValueError: the data set has no setting of that name.
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
    """Changes to the data settings of the run, preprocessing included; null = no change."""

    image_size: int | None = setting("height and width of the net's input", at_least=1)
    crop_pct: float | None = setting("centre crop / resized image", above=0, at_most=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = setting("for all resizing")
    mean: list[float] | None = setting("per channel", at_least=0, at_most=1)
    std: list[float] | None = setting("per channel", above=0)


@dataclass
class EvalTrainerConfig:
    """The devices and the precision to evaluate in."""

    accelerator: Accelerator = setting("type of device")
    devices: int | list[int] | str = setting("number of devices, or which ones: 2, [0,3], auto")
    precision: Precision | None = setting("floating-point precision; null = as in training")
    enable_progress_bar: bool | None = setting("show a progress bar; null = on a terminal")

    def merge_with(self, trained: TrainerConfig) -> dict[str, Any]:
        """Return the arguments of `pytorch_lightning.Trainer`."""
        return {
            **vars(self),
            "precision": self.precision or trained.precision,
            "benchmark": False,
            "enable_progress_bar": _is_bar_enabled(self.enable_progress_bar),
        }


@dataclass
class EvalHardwareConfig:
    """How evaluation uses the machine."""

    tune: bool | None = setting("tune malloc, threads and TF32 for speed; null = as in training")

    def merge_with(self, trained: HardwareConfig) -> bool:
        """Return whether to tune; by default as in training, for bit-identical results."""
        return trained.tune if self.tune is None else self.tune


@dataclass
class EvalConfig:
    """One evaluation of a checkpoint."""

    checkpoint: str = setting(
        "a .ckpt, or a run folder for its best.ckpt", example="runs/digits/mobilenet_v1_1.0/..."
    )
    split: Literal["test", "val", "train"] = setting("split to evaluate on")
    output: str | None = setting("JSON file; null = eval_<split>.json beside the checkpoint")
    data: EvalDataConfig = setting("changes to the run's data settings; null = no change")
    trainer: EvalTrainerConfig = setting("devices and precision")
    hardware: EvalHardwareConfig = setting("how evaluation uses the machine")


# scripts/export.py

ExportFormat = Literal[
    "onnx", "torch_export", "executorch", "litert", "coreml", "openvino", "safetensors"
]


@dataclass
class ExportConfig:
    """One export of a checkpoint."""

    checkpoint: str = setting(
        "a run folder, a .ckpt, or any weights file", example="runs/digits/mobilenet_v1_1.0/..."
    )
    format: list[ExportFormat] = setting("one format or several: a,b", example="onnx,executorch")
    quantize: Literal["int8"] | None = setting(
        "quantize weights and activations: onnx, executorch only"
    )
    preprocess: bool = setting(
        "resize and normalise in the graph, which then takes uint8 (N, H, W, C) of any size"
    )
    output: str | None = setting("folder for the files; null = export/ beside the checkpoint")
    max_drop: float = setting("maximum loss of top-1 by int8, in percentage points", at_least=0)
    split: Literal["val", "test", "train"] = setting("split to check the files on")
    num_images: int = setting("maximum number of images to check on", at_least=1)
    calibration_images: int = setting(
        "number of training images to calibrate int8's ranges on", at_least=1
    )
    images: str | None = setting("folder of images to check on, for weights without a run")
    threads: int | None = setting("threads of every runtime; null = torch's number", at_least=1)
    data: SavedDataConfig = setting("changes to the run's data settings; null = no change")


# scripts/predict.py


@dataclass
class PredictConfig:
    """One run of predictions."""

    checkpoint: str = setting(
        "a run folder, a .ckpt, or any weights file", example="runs/digits/mobilenet_v1_1.0/..."
    )
    input: list[str] = setting(
        "image files, folders, patterns, videos; - = paths on standard input", example="photos"
    )
    topk: int = setting("number of classes to print for each image", at_least=1)
    format: Literal["table", "csv", "jsonl"] = setting("output format")
    output: str | None = setting("output file; null = standard output")
    overlay: str | None = setting("folder for images with their prediction drawn on them")
    cam: bool = setting("also draw a heat map of the evidence for the class (Grad-CAM)")
    cam_layer: str | None = setting("layer of the heat map, e.g. features.5; null = the last")
    backend: Literal["auto", "eager", "channels_last", "folded", "compiled", "onnxruntime"] = (
        setting("runtime of the net; auto = the fastest that is installed and agrees with PyTorch")
    )
    batch_size: int = setting("images per step", at_least=1)
    num_threads: int | None = setting("threads that decode images; null = one per CPU", at_least=1)
    frames_per_second: float = setting("sampling rate for videos", above=0)
