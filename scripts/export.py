"""Exports a checkpoint, and checks that the files compute what the net does.

    python scripts/export.py checkpoint=runs/.../best.ckpt format=onnx,executorch

`python scripts/export.py --help` explains every setting.
"""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilenets.config import ExportConfig, entry_point, train_config
from mobilenets.console import first_line
from mobilenets.imports import lean_imports

if TYPE_CHECKING:
    from mobilenets.export import Example, Exportable
    from mobilenets.weights import Weights

log = logging.getLogger("mobilenets")


@entry_point("export", ExportConfig)
def main(config: ExportConfig) -> None:
    """Writes the files, runs each with its own runtime, and keeps those that pass."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        import torch

        from mobilenets import export, weights
        from mobilenets.predict.latency import measure_latencies

    export.check(config.format, config.quantize, config.preprocess)
    checkpoint = weights.load_weights(config.checkpoint)
    model = export.Exportable(checkpoint, config.preprocess)
    model.check()
    if config.threads:
        torch.set_num_threads(config.threads)
    images, calibration = sources(config, checkpoint, model)

    folder = Path(config.output or checkpoint.path.parent / "export")
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{checkpoint.model}_{checkpoint.options['width_mult']:g}"
    name += f"_{config.quantize}" * bool(config.quantize) + "_uint8" * config.preprocess
    with TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        exported, failures = [], []
        for format in config.format:
            log.info(f"{'write':<8}{format}")
            path = Path(scratch) / f"{name}{export.FORMATS[format].suffix}"
            try:
                exported.append(export.write(format, model, path, calibration))
            except Exception as error:  # of other people's software, of whatever kind
                failures.append(f"{format} was not written: {first_line(error)}")
        latencies = measure_latencies(export.verify_files(model, exported, images, config.threads))
        for one in exported:
            one.latency = dict(latencies.pop(one.format, {}))
        rejected = export.accept_or_reject(exported, folder, config.max_drop)

    log.info(export.table(exported, latencies))
    for one in exported:
        if one.noise:
            log.info(f"\n{one.path.name}\n{export.worst_layers(one.noise)}")
    report = folder / "export.json"
    threads = config.threads or torch.get_num_threads()
    export.write_report(report, exported, checkpoint=str(checkpoint.path), threads=threads)
    log.info(f"{'threads':<8}{threads}\n{'file':<8}{report}")
    if config.quantize and rejected:
        rejected.append(
            "fine-tune with int8 in mind: python train.py experiment=qat model="
            f"{checkpoint.model} model.weights={checkpoint.path} and the data of the run"
        )
    if failures or rejected:
        raise ValueError("\n".join([*failures, *rejected]))


def sources(
    config: ExportConfig, checkpoint: "Weights", model: "Exportable"
) -> tuple["Iterable[Example]", "list | None"]:
    """The images to check on, and batches to calibrate int8 with."""
    from mobilenets import export
    from mobilenets.data import ImageDataModule

    most = config.calibration_images
    if config.images:
        images = partial(export.examples_from_folder, Path(config.images), model)
        calibration = images(most)
        examples = images(config.num_images)
        log.info(f"{'images':<8}{config.images}, without labels")
    elif checkpoint.config:
        trained = train_config(checkpoint.config, checkpoint.path)
        data = ImageDataModule(seed=trained.seed, **config.data.over(trained.data))
        data.setup()
        checkpoint.check_classes(data.class_names)
        size = min(config.num_images, data.sizes[config.split])
        calibration = export.examples_from_split(data, "train", most)
        examples = export.examples_from_split(
            data, config.split, config.num_images, config.preprocess
        )
        log.info(f"{'images':<8}{size:,} of {trained.data.name}'s {config.split} split")
    elif config.quantize or config.preprocess:
        raise ValueError(
            f"{config.checkpoint} carries no data set: give a folder of images, images=DIR"
        )
    else:
        calibration, examples = iter(()), export.random_examples(model)
        log.info(f"{'images':<8}none known (images=DIR): the files are compared on noise")
    if not config.quantize:
        return examples, None
    return examples, [example.images for example in calibration]


if __name__ == "__main__":
    main()
