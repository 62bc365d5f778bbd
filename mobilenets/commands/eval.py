"""Evaluate a checkpoint or a run folder: `python eval.py checkpoint=runs/.../best.ckpt`.

Data, preprocessing and precision are those of the run, so the metrics equal those of its end.
`python eval.py --help` explains every setting.
"""

import logging
from pathlib import Path

from mobilenets.commands.runner import command
from mobilenets.config import EvalConfig, restore_config
from mobilenets.imports import lean_imports

log = logging.getLogger("mobilenets")


@command("eval", EvalConfig)
def eval(config: EvalConfig) -> None:
    """Evaluate one split; write eval_<split>.json and a confusion matrix."""
    # Imported here, so that an error in the config is reported before torch is loaded.
    with lean_imports():
        import pytorch_lightning as pl
        from pytorch_lightning.callbacks import Timer

        from mobilenets import reports, training, weights
        from mobilenets.data import ImageDataModule

    reports.quiet_lightning()
    checkpoint = weights.load_checkpoint(config.checkpoint)
    trained = restore_config(checkpoint.config, checkpoint.path)
    tuned = training.tune_process(
        config.hardware.merge_with(trained.hardware), config.trainer.accelerator
    )

    data = ImageDataModule(seed=trained.seed, **config.data.merge_with(trained.data))
    data.setup()
    data.test_split = config.split
    checkpoint.check_classes(data.class_names)

    net = checkpoint.build()
    training.use_fast_modules(net)
    if checkpoint.activation_ranges:  # of a run with quantization-aware training
        training.fake_quantize(net, checkpoint.activation_ranges)
    module = training.Classifier(net, data.num_classes, channels_last=trained.channels_last)
    timer = Timer()
    trainer = pl.Trainer(
        **config.trainer.merge_with(trained.trainer),
        logger=False,
        callbacks=[timer, training.DeterministicEval(), reports.SkippedImages()],
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module splits its batches by rank itself
    )
    if trained.channels_last:
        tuned.append("channels_last")
    log.info(reports.format_header(net, data, trainer, tuned, file=checkpoint.path))
    metrics = dict(trainer.test(module, datamodule=data, verbose=False)[0])

    split, matrix, classes = config.split, module.confusion_matrix, data.class_names
    output = Path(config.output or checkpoint.path.with_name(f"eval_{split}.json"))
    speed = data.sizes[split] / timer.time_elapsed("test")
    per_class = {f"{split}/per_class": reports.compute_class_accuracies(matrix, classes)}
    more = {"images_per_second": speed, "checkpoint": str(checkpoint.path)}
    reports.write_metrics(output, metrics | per_class | more)
    picture = output.with_suffix(".png")
    reports.draw_confusion_matrix(matrix, classes, split).savefig(picture)
    log.info(reports.eval_summary(metrics | more, split, output, picture))
