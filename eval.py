"""Evaluates a checkpoint or a run folder: `python eval.py checkpoint=runs/.../best.ckpt`.

Data, preprocessing and precision are those of the run, so the figures are those of its end.
`python eval.py --help` explains every setting.
"""

import logging
from pathlib import Path

from mobilenets.config import EvalConfig, entry_point, train_config
from mobilenets.imports import lean_imports

log = logging.getLogger("mobilenets")


@entry_point("eval", EvalConfig)
def main(config: EvalConfig) -> None:
    """Runs one split through the net; writes eval_<split>.json and a confusion matrix."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        import pytorch_lightning as pl
        from pytorch_lightning.callbacks import Timer

        from mobilenets import reports, training, weights
        from mobilenets.data import ImageDataModule

    reports.quiet_lightning()
    checkpoint = weights.load_checkpoint(config.checkpoint)
    trained = train_config(checkpoint.config, checkpoint.path)
    tuned = training.tune_process(
        config.hardware.over(trained.hardware), config.trainer.accelerator
    )

    data = ImageDataModule(seed=trained.seed, **config.data.over(trained.data))
    data.setup()
    data.test_split = config.split
    checkpoint.check_classes(data.class_names)

    net = checkpoint.build()
    if checkpoint.activation_ranges:  # as quantization-aware training evaluates it
        training.fake_quantize(net, checkpoint.activation_ranges)
    module = training.Classifier(net, data.num_classes, channels_last=trained.channels_last)
    timer = Timer()
    trainer = pl.Trainer(
        **config.trainer.over(trained.trainer),
        logger=False,
        callbacks=[timer, training.DeterministicEval(), reports.SkippedImages()],
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module's own order knows the rank
    )
    if trained.channels_last:
        tuned.append("channels_last")
    log.info(reports.header(net, data, trainer, tuned, file=checkpoint.path))
    figures = dict(trainer.test(module, datamodule=data, verbose=False)[0])

    split, matrix, classes = config.split, module.confusion_matrix, data.class_names
    output = Path(config.output or checkpoint.path.with_name(f"eval_{split}.json"))
    speed = data.sizes[split] / timer.time_elapsed("test")
    per_class = {f"{split}/per_class": reports.per_class(matrix, classes)}
    more = {"images_per_second": speed, "checkpoint": str(checkpoint.path)}
    reports.write_metrics(output, figures | per_class | more)
    reports.confusion_figure(matrix, classes, split).savefig(output.with_suffix(".png"))
    log.info(reports.eval_summary(figures | more, split, output, output.with_suffix(".png")))


if __name__ == "__main__":
    main()
