"""Train a net, and test it once at the end: `python train.py model=mobilenet_v2 data=cifar10`.

`python train.py --help` explains every setting.
"""

import logging
from functools import partial

from mobilenets.commands.runner import call, command, command_line, run_folder
from mobilenets.config import TrainConfig, to_dict
from mobilenets.imports import lean_imports

log = logging.getLogger("mobilenets")


@command("train", TrainConfig)
def train(config: TrainConfig) -> None:
    """Train and test, from the config to metrics.json in the run folder."""
    # Imported here, so that an error in the config is reported before torch is loaded.
    with lean_imports():
        import pytorch_lightning as pl

        from mobilenets import reports, training, weights
        from mobilenets.data import ImageDataModule, Mixing
        from mobilenets.models import create_model

    reports.quiet_lightning()
    tuned = training.tune_process(config.hardware.tune, config.trainer.accelerator, kernels=True)
    training.init_torchrun(config.trainer.accelerator)
    folder, limits = run_folder(), config.trainer.limits()
    settings = {**to_dict(config), "resume": None}  # the same in a resumed run
    checkpoints = training.Checkpoints(folder, limits, config.resume, **vars(config.checkpoint))
    if checkpoints.has_ended and (folder / "metrics.json").exists():
        log.info(f"{folder} is finished: raise trainer.max_epochs to train further")
        return
    pl.seed_everything(config.seed, verbose=False)

    data = ImageDataModule(seed=config.seed, **config.data.options())
    data.setup()

    net = create_model(**config.model.options(data.num_classes, data.in_channels))
    if config.model.weights and not config.resume:
        log.info(weights.start_from(net, config.model.weights))
    training.use_fast_modules(net)
    if config.quantization_aware:
        training.fake_quantize(net)
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

    frozen = config.model.freeze, config.model.unfreeze
    callbacks = training.training_callbacks(net, *frozen, config.early_stopping)
    trainer = pl.Trainer(
        **config.trainer.options(),
        default_root_dir=folder,
        logger=reports.RunLogger(folder, checkpoints.log_step),
        callbacks=[*reports.report_callbacks(data, settings), *callbacks, checkpoints],
        plugins=[training.AtomicCheckpointIO()],
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module splits its batches by rank itself
    )
    if config.channels_last:
        tuned.append("channels_last")
    log.info(reports.format_header(net, data, trainer, tuned, run=folder, resume=config.resume))
    (folder / "metrics.json").unlink(missing_ok=True)  # of a shorter run
    with training.with_hints(data.batch_size, data.num_workers):
        trainer.fit(module, data, ckpt_path=config.resume, weights_only=True)

        if checkpoint := checkpoints.checkpoint_to_test():  # none after a fast_dev_run
            metrics = trainer.test(module, data, checkpoint, verbose=False, weights_only=True)[0]
            reports.write_metrics(folder / "metrics.json", metrics)
            log.info(reports.train_summary(metrics, checkpoint, call("eval")))
