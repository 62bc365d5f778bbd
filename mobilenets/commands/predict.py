"""Predict the classes of images: `python scripts/predict.py checkpoint=PATH input=PATH...`.

`python scripts/predict.py --help` explains every setting.
"""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mobilenets.commands.runner import command
from mobilenets.config import PredictConfig
from mobilenets.console import label_lines, progress
from mobilenets.imports import lean_imports

if TYPE_CHECKING:
    from mobilenets.predict.predictor import Predictor

log = logging.getLogger("mobilenets")


@command("predict", PredictConfig, inputs="input", results=True)
def predict(config: PredictConfig) -> None:
    """Write a line for each image, and name those that can't be read."""
    try:
        write_predictions(config)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_predictions(config: PredictConfig) -> None:
    """Predict and write; raise ValueError at the end if some inputs can't be read."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        from mobilenets.data.decode import ImageFileError
        from mobilenets.predict import Predictor
        from mobilenets.predict.inputs import find_inputs
        from mobilenets.predict.output import make_formatter
        from mobilenets.predict.overlay import OverlayWriter

    if config.cam and not config.overlay:
        raise ValueError("cam=true draws on images: add overlay=DIR, the folder for them")
    listed = map(os.fsdecode, sys.stdin.buffer) if "-" in config.input else ()
    paths, problems = find_inputs(config.input, listed)
    for problem in problems:
        log.error(label_lines("bad", problem))
    if not paths:
        raise ValueError("input: there are no images in it")
    predictor = Predictor(
        config.checkpoint,
        config.backend,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
    )
    overlays = None
    if config.overlay:
        overlays = OverlayWriter(predictor, Path(config.overlay), config.cam, config.cam_layer)
        if overlays.heat_size == (1, 1):
            note = "the heat map has one location only: cam_layer=features.5 has more"
            log.warning(label_lines("note", note))
    num_bad, topk = len(problems), min(config.topk, len(predictor.class_names))
    header, format_line = make_formatter(config.format, topk, map(str, paths))
    lines_show_progress = config.output is None and sys.stdout.isatty()
    bar = nullcontext(lambda: None) if lines_show_progress else progress(len(paths), sys.stderr)
    with open_output(config.output) as file, bar as advance:
        if header:
            print(header, file=file)
        for result, image in predict_files(predictor, paths, config.frames_per_second, advance):
            if isinstance(result, ImageFileError):
                num_bad += 1
                log.error(label_lines("bad", str(result)))
                continue
            print(format_line(result), file=file)
            if overlays:
                overlays.write(image, result, topk)
    if config.output:
        log.info(label_lines("file", config.output))
    if overlays:
        log.info(label_lines("file", f"{config.overlay}: {overlays.num_written:,} images"))
    log.info(label_lines("backend", predictor.backend))
    if num_bad:
        raise ValueError(f"{num_bad:,} of the inputs could not be read; they are named above")


def predict_files(
    predictor: "Predictor",
    paths: list[Path],
    frames_per_second: float,
    advance: Callable[[], None],
) -> Iterator[tuple[Any, Any]]:
    """Yield the prediction, or the error, of each image or frame, with the image itself."""
    from mobilenets.data.decode import ImageFileError
    from mobilenets.predict.inputs import is_video, read_frames

    for are_videos, group in groupby(paths, is_video):
        files = list(group)
        if not are_videos:
            for path, result in zip(files, predictor.stream(files), strict=True):
                yield result, path
                advance()
            continue
        for path in files:
            frames = read_frames(path, frames_per_second)
            try:
                while part := list(islice(frames, predictor.batch_size)):
                    yield from zip(predictor.stream(part), part, strict=True)
            except ImageFileError as error:
                yield error, None
            advance()


def open_output(path: str | None) -> AbstractContextManager[TextIO | None]:
    """Open the file of the lines, or standard output; bytes that are not text become \\udcff."""
    if path:
        return Path(path).open("w", encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return nullcontext()
