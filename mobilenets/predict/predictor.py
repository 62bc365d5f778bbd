"""The predictor: images -> classes with probabilities."""

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
from mobilenets.data.transforms import Normalize, convert_channels, eval_transform
from mobilenets.export import Runner, require_preprocessing
from mobilenets.predict import backends
from mobilenets.weights import load_weights

PREPROCESSING = ("image_size", "in_channels", "mean", "std", "crop_pct", "interpolation")
# Images after which the search for the fastest backend, which takes seconds, pays.
IMAGES_BEFORE_SEARCH = 256
# Without int8, which needs calibration.
BACKEND_CHOICES = ("auto", *(name for name in backends.BACKENDS if name != "int8"))
ImageLike = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class Prediction:
    """A net's prediction for an image.

    Attributes:
        name: the path of the image; without one, its position: "[0]".
        class_names: name of class i at position i.
        probabilities: (num_classes,), on the CPU.
    """

    name: str
    class_names: list[str]
    probabilities: Tensor

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.class_names[int(self.probabilities.argmax())]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, the most probable first."""
        values, indices = self.probabilities.topk(min(k, len(self.class_names)))
        names = [self.class_names[index] for index in indices.tolist()]
        return list(zip(names, values.tolist(), strict=True))


class Predictor:
    """A trained net that predicts the classes of images, preprocessed as in its evaluation.

        predict = Predictor("runs/.../best.ckpt")
        predict("cat.jpg").top(3)
        [prediction.label for prediction in predict(["a.jpg", Image.open("b.png"), pixels])]

    Args:
        source: as for `load_model`: a checkpoint, a run folder, a file or a name of any zoo.
        backend: a key of `backends.BACKENDS` other than int8, which needs calibration; or "auto":
            the fastest installed backend whose logits are the net's. The search takes seconds,
            since it exports the net for ONNX Runtime. It happens with the first batch if the
            exported file is in the cache, otherwise after `IMAGES_BEFORE_SEARCH` images; until then
            the backend is "folded".
        batch_size: images in a batch.
        device: where PyTorch's backends run; None = a GPU if there is one.
        num_threads: threads that decode files; None = one per CPU allotted, at most 8.

    Raises:
        ValueError: there are no such weights, or they lack a classifier or their preprocessing.
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
        require_preprocessing(self.weights, PREPROCESSING)
        if backend not in BACKEND_CHOICES:
            raise ValueError(f"backend={backend!r}: choose one of {', '.join(BACKEND_CHOICES)}")
        num_classes = self.weights.options["num_classes"]
        if not num_classes:
            raise ValueError(f"{source} has no classifier: train one with model.weights={source}")
        self.class_names = self.weights.class_names or [str(i) for i in range(num_classes)]
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_size = batch_size
        self.num_threads = num_threads or min(8, num_cpus())
        self.in_channels = self.weights.preprocessing["in_channels"]
        self._transform = eval_transform(self.weights.preprocessing)
        self._normalize = Normalize(self.weights.preprocessing)
        self.backend = "folded" if backend == "auto" else backend
        self._may_search = backend == "auto"
        self._num_seen = 0
        self._run: Runner | None = None

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> Any:
        """Return the `Prediction` of an image, or a list of them for several images.

        Args:
            images: paths, PIL images, uint8 arrays (H, W) or (H, W, C), tensors (C, H, W) of uint8
                or of floats from 0 to 1; one, several, or a tensor (N, C, H, W).

        Raises:
            ValueError: an image can't be read; the message names it.
        """
        if isinstance(images, str | Path | Image.Image) or _is_single(images):
            return self([images])[0]  # type: ignore[list-item]
        predictions = []
        for result in self.stream(images):
            if isinstance(result, ImageFileError):
                raise result
            predictions.append(result)
        return predictions

    def stream(self, images: Iterable[ImageLike]) -> Iterator[Prediction | ImageFileError]:
        """Yield the prediction of each image in order, or the error of one that can't be read.

        Files are decoded while the net runs on those before them.
        """
        images, number = iter(images), 0
        waiting: deque[list[tuple[str, Future[Tensor]]]] = deque()
        with ThreadPoolExecutor(self.num_threads) as pool:
            while part := list(islice(images, self.batch_size)):
                names = [_name_of(image, number + i) for i, image in enumerate(part)]
                number += len(part)
                futures = [pool.submit(self.prepare, image) for image in part]
                waiting.append(list(zip(names, futures, strict=True)))
                if len(waiting) > 2:
                    yield from self._predict_batch(waiting.popleft())
            while waiting:
                yield from self._predict_batch(waiting.popleft())

    def prepare(self, image: ImageLike) -> Tensor:
        """Resize and crop an image as in the net's evaluation: uint8 (C, H, W)."""
        return self._transform(self._open(image))

    def normalize(self, prepared: Tensor) -> Tensor:
        """Apply mean and std: uint8 images (N, C, H, W) from `prepare` -> float32."""
        return self._normalize(prepared)

    def compute_logits(self, prepared: Tensor) -> Tensor:
        """Run the net: uint8 images (N, C, H, W) from `prepare` -> logits (N, num_classes)."""
        images = self.normalize(prepared).contiguous()
        is_first, self._num_seen = self._num_seen == 0, self._num_seen + len(images)
        if self._may_search and (
            self._num_seen >= IMAGES_BEFORE_SEARCH
            or (is_first and backends.is_cached("onnxruntime", self.weights))
        ):
            self.backend, self._run = backends.pick_fastest(self.weights, images, self.device)
            self._may_search = False
        if self._run is None:
            self._run = backends.load_backend(self.backend, self.weights, self.device)
        return self._run(images)

    def _predict_batch(
        self, batch: list[tuple[str, Future[Tensor]]]
    ) -> Iterator[Prediction | ImageFileError]:
        results: list[Tensor | ImageFileError] = []
        for _, future in batch:
            try:
                results.append(future.result())
            except ImageFileError as error:
                results.append(error)
        images = [result for result in results if isinstance(result, Tensor)]
        rows = iter(self.compute_logits(torch.stack(images)).float().softmax(1) if images else ())
        for (name, _), result in zip(batch, results, strict=True):
            if isinstance(result, ImageFileError):
                yield result
            else:
                yield Prediction(name, self.class_names, next(rows))

    def _open(self, image: ImageLike) -> EncodedImage | Tensor:
        """Return a file as an encoded image, and anything else as a tensor (C, H, W)."""
        if isinstance(image, str | Path):
            return EncodedImage(read_file(str(image)), str(image), self.in_channels)
        if isinstance(image, Image.Image):
            return from_pil(image, self.in_channels)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise ImageFileError(
                    f"an array {image.shape} of {image.dtype} is not an image: give uint8, (H, W) "
                    "or (H, W, C)"
                )
            pixels = image[..., 0] if image.shape[2:] == (1,) else image
            return from_pil(Image.fromarray(pixels), self.in_channels)
        if image.is_floating_point():
            if not (image.min() >= 0 and image.max() <= 1):
                raise ImageFileError(
                    "a tensor of floats outside 0 to 1 is not an image: leave out the "
                    "normalisation, which is done here"
                )
            image = (255 * image).round().to(torch.uint8)
        if image.dtype != torch.uint8 or image.dim() != 3 or len(image) not in (1, 3):
            raise ImageFileError(
                f"a tensor {tuple(image.shape)} of {image.dtype} is not an image: give (C, H, W) "
                "with 1 or 3 channels, uint8 or floats from 0 to 1"
            )
        return convert_channels(image.cpu(), self.in_channels)


def _is_single(images: Any) -> bool:
    """Return whether an array or a tensor is a single image."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[-1] <= 4)
    return isinstance(images, Tensor) and images.dim() <= 3


def _name_of(image: ImageLike, number: int) -> str:
    if isinstance(image, str | Path):
        return os.fspath(image)
    return getattr(image, "filename", "") or f"[{number}]"
