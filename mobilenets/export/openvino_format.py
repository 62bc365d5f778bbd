"""OpenVINO's .xml and .bin, for Intel's processors. Reference: docs.openvino.ai."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mobilenets.export import onnx_format
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.quiet import quiet


def write(model: Exportable, path: Path) -> None:
    """Export a net, with its weights in a .bin beside the .xml."""
    import openvino

    with TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "net.onnx"
        onnx_format.write(model, file)
        converted = openvino.convert_model(file)
        for key, text in model.metadata().items():
            converted.set_rt_info(text, ["mobilenets", key])
        openvino.save_model(converted, path, compress_to_fp16=False)


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in OpenVINO; None = as many threads as torch has."""
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": num_threads or torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled(images.contiguous().numpy())[0].copy())

    return run
