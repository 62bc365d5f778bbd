"""Ways to run a net for prediction: what each makes of it, and which is the fastest here."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mobilenets.cache import cached, find_cached
from mobilenets.export import FORMATS, onnx_format
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.models import fold_batchnorm
from mobilenets.predict.latency import latencies
from mobilenets.weights import Weights

log = logging.getLogger("mobilenets")

TOLERANCE = 1e-3  # of the largest logit: what another order of sums may change
ROUNDS = 3  # calls of each backend when `fastest` compares them
CALIBRATION = 8  # images of noise for int8 where there are no others


class Backend(NamedTuple):
    """A way to run a net.

    Attributes:
        start: (weights, device, calibration batches) -> its Runner.
        automatic: `fastest` may choose it: it starts in moments and rounds as float32 does.
        packages: what is imported for it.
    """

    start: Callable[[Weights, torch.device, Sequence[Tensor] | None], Runner]
    automatic: bool = True
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Those of its packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]

    def check_installed(self, name: str) -> None:
        """Raises ValueError that says what to install, if something is missing."""
        if self.missing:
            raise ValueError(
                f'backend={name} needs {", ".join(self.missing)}: pip install "mobilenets[export]"'
            )


def load_backend(
    name: str,
    weights: Weights,
    device: torch.device | str = "cpu",
    batches: Sequence[Tensor] | None = None,
) -> Runner:
    """What runs a net: normalised float32 images (N, C, H, W) on the CPU -> logits there.

    Every backend has the threads that torch has now (`torch.set_num_threads`).

    Args:
        name: a key of `BACKENDS`.
        weights: the net's; onnxruntime and int8 need its preprocessing, for the size of images.
        device: where torch's backends run; ONNX Runtime runs on the CPU.
        batches: images to calibrate int8 on. Without, noise serves: right for the time it takes,
            wrong for the predictions.

    Raises:
        ValueError: a package that is missing, with what installs it; weights that don't say what
            images they take.
    """
    backend = BACKENDS[name]
    backend.check_installed(name)
    return backend.start(weights, torch.device(device), batches)


def pick_fastest(
    weights: Weights, images: Tensor, device: torch.device | str = "cpu"
) -> tuple[str, Runner]:
    """The backend that takes the least time for these images and gives the logits of the net.

    Those that round more than float32 does (int8) are not looked at, nor those that are not
    installed or take long to start (compiled). The logits may differ from the eager net's by
    `TOLERANCE` of the largest, and the top-1 of no image.

    Args:
        weights: the net's.
        images: a batch (N, C, H, W) as the net will get it: which backend wins depends on its size.
        device: where torch's backends run.

    Returns:
        Its name and its Runner.
    """
    runners = {"eager": load_backend("eager", weights, device)}
    expected = runners["eager"](images)
    for name, backend in BACKENDS.items():
        if name in runners or not backend.automatic or backend.missing:
            continue
        try:
            runner = load_backend(name, weights, device)
            found = runner(images)
        except Exception as error:  # of other people's software, of whatever kind
            log.info(f"{'note':<8}backend {name} is left out: {error}")
            continue
        if agree(found, expected):
            runners[name] = runner
        else:
            log.info(f"{'note':<8}backend {name} is left out: its logits are not the net's")
    seconds = latencies(
        {name: partial(runner, images) for name, runner in runners.items()}, ROUNDS, warmup=1
    )
    best = min(runners, key=lambda name: median(seconds[name]))
    return best, runners[best]


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether logits (N, num_classes) are the same up to rounding, and the top-1 of each image."""
    largest = expected.abs().max().item()
    close = torch.allclose(found, expected, rtol=0, atol=TOLERANCE * largest)
    return close and bool((found.argmax(1) == expected.argmax(1)).all())


def is_cached(name: str, weights: Weights) -> bool:
    """Whether `start` finds the file that this backend needs, and so takes no more than moments.

    Writing ONNX takes seconds, more than a single picture is worth. True for torch's backends.
    """
    backend, model = BACKENDS[name], Exportable(weights)
    if backend.missing or not backend.packages:
        return not backend.missing
    batches = [model.example(CALIBRATION)] if name == "int8" else None
    return find_cached(_key(model, batches), ".onnx") is not None


# In PyTorch


def _in_torch(net: nn.Module, device: torch.device, memory_format: torch.memory_format) -> Runner:
    net = net.to(device).to(memory_format=memory_format)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        return net(images.to(device=device, memory_format=memory_format)).cpu()

    return run


def _eager(weights: Weights, device: torch.device, _: object) -> Runner:
    return _in_torch(weights.build().float(), device, torch.contiguous_format)


def _channels_last(weights: Weights, device: torch.device, _: object) -> Runner:
    return _in_torch(weights.build().float(), device, torch.channels_last)


def _folded(weights: Weights, device: torch.device, _: object) -> Runner:
    return _in_torch(fold_batchnorm(weights.build().float()), device, torch.channels_last)


def _compiled(weights: Weights, device: torch.device, _: object) -> Runner:
    net = fold_batchnorm(weights.build().float())
    net.compile()
    return _in_torch(net, device, torch.channels_last)


# In ONNX Runtime


def _onnxruntime(weights: Weights, device: torch.device, _: object) -> Runner:
    model = Exportable(weights)
    model.check()
    with cached(_key(model), ".onnx", partial(onnx_format.write, model)) as path:
        return onnx_format.load(path)


def _int8(weights: Weights, device: torch.device, batches: Sequence[Tensor] | None) -> Runner:
    model = Exportable(weights)
    model.check()
    batches = [model.example(CALIBRATION)] if batches is None else batches
    make = partial(onnx_format.write_int8, model, batches)
    with cached(_key(model, batches), ".onnx", make) as path:
        return onnx_format.load(path)


def _key(model: Exportable, batches: Sequence[Tensor] | None = None) -> str:
    """The name of a file by all that it depends on: the net, what writes it, and int8's images."""
    package, weights = Path(__file__).parents[1], model.weights
    digest = hashlib.sha256()
    writers = [version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")]
    digest.update(json.dumps([writers, weights.model, weights.options, model.shape]).encode())
    for file in sorted([*package.glob("models/*.py"), *package.glob("export/*.py")]):
        digest.update(file.read_bytes())
    for name, tensor in weights.state_dict.items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    for batch in batches or ():
        digest.update(_bytes(batch))
    return f"{'onnx' if batches is None else 'int8'}-{digest.hexdigest()[:16]}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


# To add a backend, add a line: its name, and what makes a Runner from weights.
BACKENDS: dict[str, Backend] = {
    "eager": Backend(_eager),  # PyTorch as it is
    "channels_last": Backend(_channels_last),
    "folded": Backend(_folded),  # channels_last with BatchNorm folded, as eval.py runs it
    "compiled": Backend(_compiled, automatic=False),  # folded; compiling takes up to a minute
    "onnxruntime": Backend(_onnxruntime, packages=FORMATS["onnx"].packages),
    "int8": Backend(_int8, automatic=False, packages=FORMATS["onnx"].packages),
}
