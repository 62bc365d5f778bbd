"""Says what is on pictures: `python scripts/predict.py checkpoint=PATH input=PATH...`.

`python scripts/predict.py --help` explains every setting.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.config import PredictConfig, entry_point
from mobilenets.config.console import progress
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
        from mobilenets.predict.inputs import find
        from mobilenets.predict.output import LINES, header
        from mobilenets.predict.overlay import Overlays

    paths, bad = find(config.input, sys.stdin if "-" in config.input else ())
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
    overlays = Overlays(predictor, Path(config.overlay), config.cam) if config.overlay else None
    number_of_bad, topk = len(bad), min(config.topk, len(predictor.class_names))
    with (
        Path(config.output).open("w", encoding="utf-8") if config.output else nullcontext() as file,
        progress(len(paths), sys.stderr) as advance,
    ):
        if line := header(config.format, topk):
            print(line, file=file)
        for result, picture in results(predictor, paths, config.frames_per_second, advance):
            if isinstance(result, ImageFileError):
                number_of_bad += 1
                log.error(f"{'bad':<8}{result}")
                continue
            print(LINES[config.format](result, topk), file=file)
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
    predictor: "Predictor", paths: list[Path], per_second: float, advance: Any
) -> Iterator[tuple[Any, Any]]:
    """The prediction for each picture or frame, or the error, and the picture itself."""
    from mobilenets.data.decode import ImageFileError
    from mobilenets.predict.inputs import frames, is_video

    still: list[Path] = []
    for number in count():
        end = number == len(paths)
        if still and (end or is_video(paths[number]) or len(still) >= 8 * predictor.batch_size):
            for path, result in zip(still, predictor.stream(still), strict=True):
                yield result, path
                advance()
            still = []
        if end:
            return
        if not is_video(paths[number]):
            still.append(paths[number])
            continue
        try:
            for frame in frames(paths[number], per_second):
                yield next(predictor.stream([frame])), frame
        except ImageFileError as error:
            yield error, None
        advance()


if __name__ == "__main__":
    main()
