"""LiteRT's .tflite, for Android and microcontrollers. Reference: ai.google.dev/edge/litert."""

from pathlib import Path

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.quiet import quiet


def write(model: Exportable, path: Path) -> None:
    """Export a net for one image at a time."""
    with quiet():
        import litert_torch

        litert_torch.convert(model.net, (model.random_inputs(1),)).export(str(path))


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in LiteRT image by image; None = torch's threads."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=num_threads or torch.get_num_threads())
        interpreter.allocate_tensors()
    (images_in,), (logits_out,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run_one(image: Tensor) -> Tensor:
        interpreter.set_tensor(images_in["index"], image.contiguous().numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(logits_out["index"]))

    return lambda images: torch.cat([run_one(image) for image in images.split(1)])
