"""Export a checkpoint, and verify that the files compute what the net computes.

    python scripts/export.py checkpoint=runs/.../best.ckpt format=onnx,executorch

`python scripts/export.py --help` explains every setting.
"""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilenets.commands.runner import command
from mobilenets.config import ExportConfig, restore_config
from mobilenets.console import first_line, label_lines
from mobilenets.imports import lean_imports

if TYPE_CHECKING:
    from torch import Tensor

    from mobilenets.export import Example, Exportable, ExportedFile

log = logging.getLogger("mobilenets")


@command("export", ExportConfig)
def export(config: ExportConfig) -> None:
    """Write the files, run each in its own runtime, and accept or reject them."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        import torch

        from mobilenets import export
        from mobilenets.predict.latency import measure_latencies
        from mobilenets.weights import load_weights

    export.check_formats(config.format, config.quantize, config.preprocess)
    weights = load_weights(config.checkpoint)
    model = export.Exportable(weights, config.preprocess)
    export.require_preprocessing(weights)
    if config.threads:
        torch.set_num_threads(config.threads)
    examples, calibration = choose_examples(config, model)

    folder = Path(config.output or weights.path.parent / "export")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        files, errors = write_files(config, model, calibration, Path(scratch))
        runners = export.verify_files(model, files, examples, config.threads)
        latencies = measure_latencies(runners)
        rejections = export.accept_or_reject(files, folder, config.max_drop)

    log.info(export.format_report(files, latencies))
    for file in files:
        if file.layer_snr:
            log.info(f"\n{file.path.name}\n{export.format_worst_layers(file.layer_snr)}")
    report = folder / "export.json"
    threads = config.threads or torch.get_num_threads()
    export.write_report(report, files, latencies, checkpoint=str(weights.path), threads=threads)
    log.info(label_lines("threads", str(threads)))
    log.info(label_lines("file", str(report)))
    if config.quantize and rejections:
        rejections.append(
            "fine-tune with quantization-aware training: python train.py experiment=qat model="
            f"{weights.model} model.weights={weights.path} and the data of the run"
        )
    if errors or rejections:
        raise ValueError("\n".join([*errors, *rejections]))


def choose_examples(
    config: ExportConfig, model: "Exportable"
) -> tuple["Iterable[Example]", "list[Tensor] | None"]:
    """Return the examples to verify the files on, and the batches to calibrate int8 with."""
    from mobilenets import export
    from mobilenets.data import ImageDataModule

    weights = model.weights
    calibration: Iterable[Example] = ()
    if config.images:
        read = partial(export.examples_from_folder, Path(config.images), model)
        calibration = read(config.calibration_images)
        examples = read(config.num_images)
        log.info(label_lines("images", f"{config.images}, without labels"))
    elif weights.config:
        trained = restore_config(weights.config, weights.path)
        data = ImageDataModule(seed=trained.seed, **config.data.merge_with(trained.data))
        data.setup()
        weights.check_classes(data.class_names)
        calibration = export.examples_from_split(data, "train", config.calibration_images)
        examples = export.examples_from_split(
            data, config.split, config.num_images, config.preprocess
        )
        count = min(config.num_images, data.sizes[config.split])
        name = trained.data.name
        log.info(label_lines("images", f"{count:,} of {name}'s {config.split} split"))
    elif config.quantize or config.preprocess:
        raise ValueError(
            f"{config.checkpoint} has no data set: give a folder of images, images=DIR"
        )
    else:
        examples = export.random_examples(model)
        log.info(label_lines("images", "none (images=DIR): the files are verified on noise"))
    if not config.quantize:
        return examples, None
    return examples, [example.images for example in calibration]


def write_files(
    config: ExportConfig, model: "Exportable", calibration: "list[Tensor] | None", folder: Path
) -> tuple["list[ExportedFile]", list[str]]:
    """Write a file for each format; return the files, and a sentence for each that failed."""
    from mobilenets import export

    weights = model.weights
    name = f"{weights.model}_{weights.options['width_mult']:g}"
    name += f"_{config.quantize}" * bool(config.quantize) + "_uint8" * config.preprocess
    files, errors = [], []
    for format in config.format:
        log.info(label_lines("write", format))
        path = folder / f"{name}{export.FORMATS[format].suffix}"
        try:
            files.append(export.write_file(format, model, path, calibration))
        except Exception as error:  # exporters raise errors of any type
            errors.append(f"{format} was not written: {first_line(error)}")
    return files, errors
