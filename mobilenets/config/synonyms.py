"""What other training programs call our settings: the hint for a setting that is not one here."""

SYNONYMS = {  # another name, in lower case -> ours
    "learning_rate": "optimizer.lr",
    "base_lr": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "opt": "optimizer",
    "optim": "optimizer",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "sched": "schedule",
    "warmup": "schedule.warmup_epochs",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "gpus": "trainer.devices",
    "num_gpus": "trainer.devices",
    "device": "trainer.accelerator",
    "amp": "trainer.precision=bf16-mixed",
    "fp16": "trainer.precision=16-mixed",
    "bf16": "trainer.precision=bf16-mixed",
    "grad_clip": "trainer.gradient_clip_val",
    "clip_grad": "trainer.gradient_clip_val",
    "grad_accum": "trainer.accumulate_grad_batches",
    "pretrained": "model.weights",
    "pretrained_weights": "model.weights",
    "initial_checkpoint": "model.weights",
    "arch": "model",
    "backbone": "model",
    "width": "model.width_mult",
    "alpha": "model.width_mult",
    "drop": "model.dropout",
    "dataset": "data",
    "data_dir": "data.root",
    "data_path": "data.root",
    "workers": "data.num_workers",
    "bs": "data.batch_size",
    "batch": "data.batch_size",
    "img_size": "data.image_size",
    "imgsz": "data.image_size",
    "input_size": "data.image_size",
    "image": "data.image_size",
    "size": "data.image_size",
    "resolution": "data.image_size",
    "smoothing": "label_smoothing",
    "ema": "ema_decay",
    "model_ema": "ema_decay",
    "patience": "early_stopping",
    "torchcompile": "compile",
    "output": "hydra.run.dir",
    "output_dir": "hydra.run.dir",
    "save_dir": "hydra.run.dir",
    "log_dir": "hydra.run.dir",
    "ckpt_path": "resume",
    "checkpoint": "resume",
}
EXPLANATIONS = {  # what there is instead
    "logger": "every run logs to TensorBoard in its run folder; there are no others to choose",
    "callbacks": (
        "callbacks are not configured; there are early_stopping, ema_decay, model.unfreeze and "
        "checkpoint.every_minutes"
    ),
    "_target_": (
        "a config instantiates no classes; choices are made by name, as in optimizer=adamw"
    ),
}


def explain_foreign(key: str) -> str | None:
    """Return the hint for a setting that other programs have, None for any other name."""
    for part in reversed(key.lower().split(".")):
        if part in EXPLANATIONS:
            return EXPLANATIONS[part]
    name = key.lower().rpartition(".")[2].replace("-", "_")
    return f"did you mean {SYNONYMS[name]}?" if name in SYNONYMS else None
