"""The export formats: what each of them can do, what runs its files, and what it needs."""

from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

from mobilenets.choices import join_words
from mobilenets.export import (
    coreml_format,
    executorch_format,
    litert_format,
    onnx_format,
    openvino_format,
    safetensors_format,
    torch_export_format,
)
from mobilenets.imports import find_missing, install_hint


class Format(NamedTuple):
    """An export format.

    Attributes:
        module: has `write(model, path)` and `load(path, num_threads) -> Runner`; where the format
            can quantize, `write_int8(model, calibration, path) -> MeasureSNR` too.
        suffix: of the file. An .xml comes with a .bin, and an .mlpackage is a folder.
        runtime: the software that runs the file.
        packages: the packages that writing and running it import.
        install: how to install these.
        max_batch_size: of the exported net; None = any. `load` splits larger batches.
        can_quantize: the net can be exported in int8.
        can_preprocess: resizing and normalisation can be a part of the graph.
    """

    module: ModuleType
    suffix: str
    runtime: str
    packages: tuple[str, ...] = ()
    install: str = ""
    max_batch_size: int | None = None
    can_quantize: bool = False
    can_preprocess: bool = False

    def check_installed(self, name: str) -> None:
        """Raise ValueError that says what to install, if a package is missing."""
        if missing := find_missing(self.packages):
            raise ValueError(f"format={name} needs {', '.join(missing)}: {self.install}")


# To add a format, add it here and to `ExportFormat` of mobilenets/config/schema.py.
FORMATS: dict[str, Format] = {
    "onnx": Format(
        onnx_format,
        ".onnx",
        "ONNX Runtime",
        ("onnx", "onnxscript", "onnxruntime"),
        install_hint("export"),
        can_quantize=True,
        can_preprocess=True,
    ),
    "torch_export": Format(torch_export_format, ".pt2", "PyTorch", can_preprocess=True),
    "executorch": Format(
        executorch_format,
        ".pte",
        "ExecuTorch",
        ("executorch", "torchao"),
        install_hint("edge"),
        max_batch_size=torch_export_format.MAX_BATCH_SIZE,
        can_quantize=True,
    ),
    "litert": Format(
        litert_format,
        ".tflite",
        "LiteRT",
        ("litert_torch", "ai_edge_litert"),
        "it needs an environment of its own, python -m venv litert && litert/bin/pip install "
        "litert-torch -e . (its versions of other packages differ)",
        max_batch_size=1,
    ),
    "coreml": Format(
        coreml_format,
        ".mlpackage",
        "Core ML",
        ("coremltools",),
        install_hint("edge"),
        max_batch_size=torch_export_format.MAX_BATCH_SIZE,
    ),
    "openvino": Format(
        openvino_format,
        ".xml",
        "OpenVINO",
        ("openvino", "onnx", "onnxscript"),
        install_hint("export"),
        can_preprocess=True,
    ),
    "safetensors": Format(safetensors_format, ".safetensors", "PyTorch"),
}


def check_formats(names: Iterable[str], quantize: str | None, preprocess: bool) -> None:
    """Raise ValueError unless these formats can be written here with these options."""
    if quantize and preprocess:
        raise ValueError("quantize and preprocess=true don't work together: drop one of them")
    quantizable = [name for name, format in FORMATS.items() if format.can_quantize]
    preprocessable = [name for name, format in FORMATS.items() if format.can_preprocess]
    for name in names:
        FORMATS[name].check_installed(name)
        if quantize and name not in quantizable:
            raise ValueError(
                f"format={name} has no {quantize}: choose {join_words(quantizable, 'or')}, or drop "
                f"quantize={quantize}"
            )
        if preprocess and name not in preprocessable:
            raise ValueError(
                f"format={name} can't preprocess images: choose "
                f"{join_words(preprocessable, 'or')}, or drop preprocess=true"
            )
