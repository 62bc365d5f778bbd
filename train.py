"""Trains a net and tests it once, at the end: `python train.py model=mobilenet_v2 data=cifar10`.

`python train.py --help` explains every setting.
"""

import logging
from functools import partial
from pathlib import Path

from mobilenets.config import TrainConfig, command_line, entry_point, run_folder, to_dict
from mobilenets.imports import lean_imports

log = logging.getLogger("mobilenets")


@entry_point("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """One run, from the config to metrics.json in the run folder."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        import pytorch_lightning as pl

        from mobilenets import reports, training, weights
        from mobilenets.data import ImageDataModule, Mixing
        from mobilenets.models import create_model

    reports.quiet_lightning()
    tuned = training.tune(config.hardware.tune, config.trainer.accelerator, kernels=True)
    folder, settings = run_folder(), to_dict(config)
    pl.seed_everything(config.seed, verbose=False)

    data = ImageDataModule(seed=config.seed, **config.data.options())
    data.setup()

    net = create_model(**config.model.options(data.num_classes, data.in_channels))
    if config.model.weights and not config.resume:
        log.info(weights.start_from(net, config.model.weights))
    module = training.Classifier(
        net,
        data.num_classes,
        optimizer=partial(training.create_optimizer, **vars(config.optimizer)),
        schedule=training.Schedule(**vars(config.schedule)),
        mixing=Mixing(data.augment["mixup"], data.augment["cutmix"], data.num_classes),
        label_smoothing=config.label_smoothing,
        ema_decay=config.ema_decay,
        channels_last=config.channels_last,
        seed=config.seed,
        record=weights.make_record(
            net, data.class_names, data.preprocessing, settings, command=command_line()
        ),
    )
    if config.compile:
        training.compile_net(net, config.trainer.accelerator)

    best, last = training.checkpoints(folder)
    stopping = training.early_stopping(config.early_stopping)
    hardware = training.EvaluateByRule(), training.ReturnMemory()
    freezing = training.freezing(net, config.model.freeze, config.model.unfreeze)
    trainer = pl.Trainer(
        **config.trainer.options(),
        default_root_dir=folder,
        logger=reports.RunLogger(folder),
        callbacks=[*reports.callbacks(data, settings), *freezing, *stopping, *hardware, best, last],
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module's own order knows the rank
    )
    if config.channels_last:
        tuned.append("channels_last")
    log.info(reports.header(net, data, trainer, tuned, run=folder, resume=config.resume))
    trainer.fit(module, data, ckpt_path=config.resume, weights_only=True)

    if checkpoint := best.best_model_path or last.best_model_path:
        figures = trainer.test(module, data, checkpoint, verbose=False, weights_only=True)[0]
        reports.write_json(folder / "metrics.json", figures)
        log.info(reports.result(figures, Path(checkpoint)))
    else:  # a fast_dev_run, or max_time passed within the first epoch
        log.info("no checkpoint was written, so there is none to test")


if __name__ == "__main__":
    main()
