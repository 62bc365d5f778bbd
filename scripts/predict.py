"""Says what is on pictures: `python scripts/predict.py checkpoint=PATH input=PATH...`.

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

from mobilenets.config import PredictConfig, entry_point
from mobilenets.console import progress
from mobilenets.imports import lean_imports

if TYPE_CHECKING:
    from mobilenets.predict.predictor import Predictor

log = logging.getLogger("mobilenets")


@entry_point("predict", PredictConfig, paths="input")
def main(config: PredictConfig) -> None:
    """Writes a line for each picture; names what can't be read, and goes on."""
    try:
        predict(config)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`: nobody wants more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def predict(config: PredictConfig) -> None:
    """The same, while somebody reads it."""
    # Imported here: a mistake in the config is reported before torch is loaded.
    with lean_imports():
        from mobilenets.data.decode import ImageFileError
        from mobilenets.predict import Predictor
        from mobilenets.predict.inputs import find_inputs
        from mobilenets.predict.output import make_formatter
        from mobilenets.predict.overlay import Overlays

    if config.cam and not config.overlay:
        raise ValueError("cam=true draws on pictures: say with overlay=DIR where they go")
    listed = map(os.fsdecode, sys.stdin.buffer) if "-" in config.input else ()
    paths, bad = find_inputs(config.input, listed)
    for sentence in bad:
        log.error(f"{'bad':<8}{sentence}")
    if not paths:
        raise ValueError("input: there is no picture to look at")
    predictor = Predictor(
        config.checkpoint,
        config.backend,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
    )
    overlays = None
    if config.overlay:
        overlays = Overlays(predictor, Path(config.overlay), config.cam, config.cam_layer)
    if overlays and overlays.map_size == (1, 1):
        log.warning(f"{'note':<8}the heat map has one place only: cam_layer=features.5 has more")
    number_of_bad, topk = len(bad), min(config.topk, len(predictor.class_names))
    header, line = make_formatter(config.format, topk, map(str, paths))
    scrolls_by = config.output is None and sys.stdout.isatty()  # the lines are the progress
    bar = nullcontext(lambda: None) if scrolls_by else progress(len(paths), sys.stderr)
    with opened(config.output) as file, bar as advance:
        if header:
            print(header, file=file)
        for result, picture in results(predictor, paths, config.frames_per_second, advance):
            if isinstance(result, ImageFileError):
                number_of_bad += 1
                log.error(f"{'bad':<8}{result}")
                continue
            print(line(result), file=file)
            if overlays:
                overlays.write(picture, result, topk)
    if config.output:
        log.info(f"{'file':<8}{config.output}")
    if overlays:
        log.info(f"{'file':<8}{config.overlay}: {overlays.number:,} pictures")
    log.info(f"{'backend':<8}{predictor.backend}")
    if number_of_bad:
        raise ValueError(f"{number_of_bad:,} of the inputs could not be read; they are named above")


def results(
    predictor: "Predictor", paths: list[Path], per_second: float, advance: Callable[[], None]
) -> Iterator[tuple[Any, Any]]:
    """The prediction for each picture or frame, or the error, and the picture itself."""
    from mobilenets.data.decode import ImageFileError
    from mobilenets.predict.inputs import frames, is_video

    for films, group in groupby(paths, is_video):
        files = list(group)
        if not films:
            for path, result in zip(files, predictor.stream(files), strict=True):
                yield result, path
                advance()
            continue
        for path in files:
            shown = frames(path, per_second)
            try:
                while part := list(islice(shown, predictor.batch_size)):
                    yield from zip(predictor.stream(part), part, strict=True)
            except ImageFileError as error:
                yield error, None
            advance()


def opened(output: str | None) -> AbstractContextManager[TextIO | None]:
    """Where lines go. What is no text in a file's name is written as \\udcff, as in JSON."""
    if output:
        return Path(output).open("w", encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return nullcontext()


if __name__ == "__main__":
    main()
