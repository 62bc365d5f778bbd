"""Backends: the ways to run a net for prediction here, and which of them is the fastest."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from mobilenets.cache import cached, find_cached
from mobilenets.console import first_line, label_lines
from mobilenets.export import (
    FORMATS,
    Exportable,
    Runner,
    make_runner,
    onnx_format,
    require_preprocessing,
)
from mobilenets.imports import find_missing, install_hint
from mobilenets.models import fold_batchnorm
from mobilenets.predict.latency import time_calls
from mobilenets.weights import Weights

log = logging.getLogger("mobilenets")

TOLERANCE = 1e-3  # share of the largest logit that another order of summation may change
ROUNDS = 3  # timed calls of each backend in `pick_fastest`
NUM_RANDOM_IMAGES = 8  # that calibrate int8 where no images are given


class Backend(NamedTuple):
    """A way to run a net.

    Attributes:
        load: (weights, device, calibration batches) -> runner.
        automatic: `pick_fastest` may choose it, since it starts in moments and rounds as float32.
        packages: the packages that it imports.
    """

    load: Callable[[Weights, torch.device, Sequence[Tensor] | None], Runner]
    automatic: bool = True
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Those of its packages that are not installed."""
        return find_missing(self.packages)

    def check_installed(self, name: str) -> None:
        """Raise ValueError that says what to install, if a package is missing."""
        if self.missing:
            raise ValueError(
                f"backend={name} needs {', '.join(self.missing)}: {install_hint('export')}"
            )


def load_backend(
    name: str,
    weights: Weights,
    device: torch.device | str = "cpu",
    calibration: Sequence[Tensor] | None = None,
) -> Runner:
    """Return a function that runs a net: normalised float32 images (N, C, H, W) -> logits.

    Images and logits are on the CPU. Every backend runs with as many threads as torch has now
    (`torch.set_num_threads`).

    Args:
        name: a key of `BACKENDS`.
        weights: of the net; onnxruntime and int8 need the image size of its preprocessing.
        device: where PyTorch's backends run; ONNX Runtime runs on the CPU.
        calibration: batches to calibrate int8 with. Without any, noise is used: good enough to
            measure the latency, but not for predictions.

    Raises:
        ValueError: a package is missing, or the weights lack their preprocessing.
    """
    backend = BACKENDS[name]
    backend.check_installed(name)
    return backend.load(weights, torch.device(device), calibration)


def pick_fastest(
    weights: Weights, images: Tensor, device: torch.device | str = "cpu"
) -> tuple[str, Runner]:
    """Return the name and the runner of the backend that is the fastest for these images.

    Backends that are not installed, take long to start (compiled) or round more than float32
    (int8) are not considered, nor are those whose logits differ from the eager net's
    (`is_equivalent`).

    Args:
        weights: of the net.
        images: a batch (N, C, H, W) of the usual size, since the fastest backend depends on it.
        device: where PyTorch's backends run.
    """
    runners = {"eager": load_backend("eager", weights, device)}
    expected = runners["eager"](images)
    for name, backend in BACKENDS.items():
        if name in runners or not backend.automatic or backend.missing:
            continue
        try:
            runner = load_backend(name, weights, device)
            logits = runner(images)
        except Exception as error:  # runtimes raise errors of any type
            log.info(label_lines("note", f"backend {name} is not used: {first_line(error)}"))
            continue
        if is_equivalent(logits, expected):
            runners[name] = runner
        else:
            log.info(label_lines("note", f"backend {name} is not used: its logits are wrong"))
    calls = {name: partial(runner, images) for name, runner in runners.items()}
    seconds = time_calls(calls, ROUNDS, warmup=1)
    fastest = min(runners, key=lambda name: median(seconds[name]))
    return fastest, runners[fastest]


def is_equivalent(logits: Tensor, expected: Tensor) -> bool:
    """Return whether logits (N, num_classes) are equal up to rounding, with the same top-1."""
    largest = expected.abs().max().item()
    close = torch.allclose(logits, expected, rtol=0, atol=TOLERANCE * largest)
    return close and bool((logits.argmax(1) == expected.argmax(1)).all())


def is_cached(name: str, weights: Weights) -> bool:
    """Return whether `load_backend` needs no export, which takes seconds.

    True for PyTorch's backends, and for ONNX Runtime's if the cache has the file.
    """
    backend, model = BACKENDS[name], Exportable(weights)
    if backend.missing or not backend.packages:
        return not backend.missing
    calibration = [model.random_inputs(NUM_RANDOM_IMAGES)] if name == "int8" else None
    return find_cached(_make_key(model, calibration), ".onnx") is not None


# PyTorch


def _load_eager(weights: Weights, device: torch.device, _: object) -> Runner:
    return make_runner(weights.build().float(), device, torch.contiguous_format)


def _load_channels_last(weights: Weights, device: torch.device, _: object) -> Runner:
    return make_runner(weights.build().float(), device, torch.channels_last)


def _load_folded(weights: Weights, device: torch.device, _: object) -> Runner:
    return make_runner(fold_batchnorm(weights.build().float()), device, torch.channels_last)


def _load_compiled(weights: Weights, device: torch.device, _: object) -> Runner:
    net = fold_batchnorm(weights.build().float())
    net.compile()
    return make_runner(net, device, torch.channels_last)


# ONNX Runtime


def _load_onnxruntime(weights: Weights, device: torch.device, _: object) -> Runner:
    require_preprocessing(weights)
    model = Exportable(weights)
    with cached(_make_key(model), ".onnx", partial(onnx_format.write, model)) as path:
        return onnx_format.load(path)


def _load_int8(
    weights: Weights, device: torch.device, calibration: Sequence[Tensor] | None
) -> Runner:
    require_preprocessing(weights)
    model = Exportable(weights)
    if calibration is None:
        calibration = [model.random_inputs(NUM_RANDOM_IMAGES)]
    write = partial(onnx_format.write_int8, model, calibration)
    with cached(_make_key(model, calibration), ".onnx", write) as path:
        return onnx_format.load(path)


def _make_key(model: Exportable, calibration: Sequence[Tensor] | None = None) -> str:
    """Return the cache key of an ONNX file: a hash of the net, the exporters, and the images."""
    package, weights = Path(__file__).parents[1], model.weights
    digest = hashlib.sha256()
    versions = [version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")]
    net = [versions, weights.model, weights.options, model.image_shape]
    digest.update(json.dumps(net).encode())
    for file in sorted([*package.glob("models/*.py"), *package.glob("export/*.py")]):
        digest.update(file.read_bytes())
    for name, tensor in weights.state_dict.items():
        digest.update(name.encode())
        digest.update(_to_bytes(tensor))
    for batch in calibration or ():
        digest.update(_to_bytes(batch))
    return f"{'onnx' if calibration is None else 'int8'}-{digest.hexdigest()[:16]}"


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


# To add a backend, add a line: its name, and a function that makes a runner from weights.
BACKENDS: dict[str, Backend] = {
    "eager": Backend(_load_eager),  # PyTorch as it is
    "channels_last": Backend(_load_channels_last),
    "folded": Backend(_load_folded),  # channels_last with BatchNorm folded, as eval.py runs it
    "compiled": Backend(_load_compiled, automatic=False),  # folded; compiling takes up to a minute
    "onnxruntime": Backend(_load_onnxruntime, packages=FORMATS["onnx"].packages),
    "int8": Backend(_load_int8, automatic=False, packages=FORMATS["onnx"].packages),
}
