"""Pictures -> classes with probabilities."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobilenets.cpus import num_cpus
from mobilenets.data.decode import EncodedImage, ImageFileError, from_pil, read_file
from mobilenets.data.transforms import Normalize, eval_transform, to_channels
from mobilenets.export.exportable import Runner
from mobilenets.predict import backends
from mobilenets.weights import load_weights

PREPROCESSING = {"image_size", "in_channels", "mean", "std", "crop_pct", "interpolation"}
MANY = 256  # images after which it pays to look for the fastest backend, which takes seconds
BACKENDS = ("auto", *(name for name in backends.BACKENDS if name != "int8"))  # that wants images
Picture = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class Prediction:
    """What a net makes of a picture.

    Attributes:
        name: the picture's path, or what it was called.
        class_names: name of class i at position i.
        probabilities: (num_classes,), on the CPU.
    """

    name: str
    class_names: list[str]
    probabilities: Tensor

    @property
    def label(self) -> str:
        """The class with the largest probability."""
        return self.class_names[int(self.probabilities.argmax())]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k largest probabilities with their classes, the largest first."""
        values, indices = self.probabilities.topk(min(k, len(self.class_names)))
        names = [self.class_names[index] for index in indices.tolist()]
        return list(zip(names, values.tolist(), strict=True))


class Predictor:
    """A trained net as a function of pictures, with the preprocessing of its evaluation.

        predict = Predictor("runs/.../best.ckpt")
        predict("cat.jpg").top(3)
        [prediction.label for prediction in predict(["a.jpg", Image.open("b.png"), pixels])]

    Args:
        source: what `load_model` takes: a checkpoint, a run folder, a file or name of any zoo.
        backend: a key of `backends.BACKENDS` but int8, which is exported; "auto" = the fastest
             that is installed and agrees with the net on a batch. Looking for it may take
            seconds, as a file for ONNX Runtime is made, once for a net: it is done at once where
            that file is there already, else after `MANY` pictures. Until then it is "folded".
        batch_size: pictures that the net gets at once.
        device: where PyTorch's backends run; None = a GPU if there is one.
        num_threads: threads that decode files; None = one a CPU allotted, at most 8.

    Raises:
        ValueError: no weights, or weights that don't say what images they take.
    """

    def __init__(
        self,
        source: str | Path,
        backend: str = "auto",
        *,
        batch_size: int = 32,
        device: str | None = None,
        num_threads: int | None = None,
    ):
        self.weights = load_weights(source)
        if not self.weights.preprocessing.keys() >= PREPROCESSING:
            raise ValueError(
                f"{source} says nothing of image_size, mean and std: load it with "
                "mobilenets.load_model, set net.preprocessing, and save it with save_model"
            )
        if backend not in BACKENDS:
            raise ValueError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
        num_classes = self.weights.options["num_classes"]
        if not num_classes:
            raise ValueError(f"{source} has no classifier: model.weights={source} trains one")
        self.class_names = self.weights.class_names or [str(i) for i in range(num_classes)]
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_size = batch_size
        self.num_threads = num_threads or min(8, num_cpus())
        self.in_channels = self.weights.preprocessing["in_channels"]
        self._transform = eval_transform(self.weights.preprocessing)
        self._normalize = Normalize(self.weights.preprocessing)
        self.backend = "folded" if backend == "auto" else backend
        self._undecided = backend == "auto"
        self._seen = 0
        self._run: Runner | None = None

    def __call__(self, images: Picture | Iterable[Picture]) -> Any:
        """The `Prediction` of a picture, or a list of them for several.

        Args:
            images: paths, PIL images, uint8 arrays (H, W) or (H, W, C), tensors (C, H, W), of uint8
                or of floats from 0 to 1; one, several, or a tensor (N, C, H, W).

        Raises:
            ValueError: a picture that can't be read; names it.
        """
        if isinstance(images, str | Path | Image.Image) or _is_one(images):
            return self([images])[0]  # type: ignore[list-item]
        found = []
        for result in self.stream(images):
            if isinstance(result, ImageFileError):
                raise result
            found.append(result)
        return found

    def stream(self, images: Iterable[Picture]) -> Iterator[Prediction | ImageFileError]:
        """The prediction of each picture, in order, or what is wrong with it; files are decoded
        while the net works on those before them."""
        images, number = iter(images), 0
        waiting: deque[list[tuple[str, Future[Tensor]]]] = deque()
        with ThreadPoolExecutor(self.num_threads) as pool:
            while part := list(islice(images, self.batch_size)):
                names = [_name(image, number + i) for i, image in enumerate(part)]
                number += len(part)
                futures = [pool.submit(self.prepare, image) for image in part]
                waiting.append(list(zip(names, futures, strict=True)))
                if len(waiting) > 2:
                    yield from self._finish(waiting.popleft())
            while waiting:
                yield from self._finish(waiting.popleft())

    def prepare(self, image: Picture) -> Tensor:
        """A picture as the net's evaluation sees it, but for mean and std: uint8 (C, H, W)."""
        return self._transform(self._encoded_or_pixels(image))

    def normalized(self, prepared: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) of `prepare` -> what the net gets, float32."""
        return self._normalize(prepared)

    def logits(self, prepared: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) of `prepare` -> logits (N, num_classes)."""
        images = self.normalized(prepared).contiguous()
        first, self._seen = self._seen == 0, self._seen + len(images)
        if self._undecided and (
            self._seen >= MANY or (first and backends.is_cached("onnxruntime", self.weights))
        ):
            self.backend, self._run = backends.pick_fastest(self.weights, images, self.device)
            self._undecided = False
        if self._run is None:
            self._run = backends.load_backend(self.backend, self.weights, self.device)
        return self._run(images)

    def _finish(
        self, part: list[tuple[str, Future[Tensor]]]
    ) -> Iterator[Prediction | ImageFileError]:
        results: list[Tensor | ImageFileError] = []
        for _, future in part:
            try:
                results.append(future.result())
            except ImageFileError as error:
                results.append(error)
        good = [result for result in results if isinstance(result, Tensor)]
        rows = iter(self.logits(torch.stack(good)).float().softmax(1) if good else ())
        for (name, _), result in zip(part, results, strict=True):
            if isinstance(result, ImageFileError):
                yield result
            else:
                yield Prediction(name, self.class_names, next(rows))

    def _encoded_or_pixels(self, image: Picture) -> EncodedImage | Tensor:
        if isinstance(image, str | Path):
            return EncodedImage(read_file(str(image)), str(image), self.in_channels)
        if isinstance(image, Image.Image):
            return from_pil(image, self.in_channels)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise ImageFileError(
                    f"an array {image.shape} of {image.dtype} is no picture: give uint8, (H, W) "
                    "or (H, W, C)"
                )
            pixels = image[..., 0] if image.shape[2:] == (1,) else image
            return from_pil(Image.fromarray(pixels), self.in_channels)
        if image.is_floating_point():
            if not (image.min() >= 0 and image.max() <= 1):
                raise ImageFileError(
                    "a tensor of floats outside 0 to 1 is no picture: mean and std are the net's "
                    "to apply"
                )
            image = (255 * image).round().to(torch.uint8)
        if image.dtype != torch.uint8 or image.dim() != 3 or len(image) not in (1, 3):
            raise ImageFileError(
                f"a tensor {tuple(image.shape)} of {image.dtype} is no picture: give (C, H, W) "
                "with 1 or 3 channels, uint8 or floats from 0 to 1"
            )
        return to_channels(image.cpu(), self.in_channels)


def _is_one(images: Any) -> bool:
    """Whether an array or a tensor is a single picture."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[-1] <= 4)
    return isinstance(images, Tensor) and images.dim() <= 3


def _name(image: Picture, number: int) -> str:
    if isinstance(image, str | Path):
        return os.fspath(image)
    return getattr(image, "filename", "") or f"[{number}]"
