"""The formats a net is exported to: what each is for, what it needs, and what runs it."""

from collections.abc import Iterable
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

from mobilenets.export import (
    coreml_format,
    executorch_format,
    litert_format,
    onnx_format,
    openvino_format,
    safetensors_format,
    torch_export_format,
)


class Format(NamedTuple):
    """A format.

    Attributes:
        module: its `write(model, path)` and `load(path, num_threads) -> Runner`.
        suffix: of the file; with .xml and .mlpackage goes a .bin, or they are a folder.
        runtime: whose software runs it, in words.
        packages: what is imported for it.
        install: what brings these.
    """

    module: ModuleType
    suffix: str
    runtime: str
    packages: tuple[str, ...] = ()
    install: str = ""

    def check_installed(self, name: str) -> None:
        """Raises ValueError that says what to install, if something is missing."""
        if missing := [package for package in self.packages if find_spec(package) is None]:
            raise ValueError(f"format={name} needs {', '.join(missing)}: {self.install}")


EXTRA = 'pip install "mobilenets[{}]"'
# To add a format, add a line here and its name to `ExportConfig`. A module with `write_int8`
# quantises; `PREPROCESS` lists those whose graphs can resize.
FORMATS: dict[str, Format] = {
    "onnx": Format(
        onnx_format,
        ".onnx",
        "ONNX Runtime",
        ("onnx", "onnxscript", "onnxruntime"),
        EXTRA.format("export"),
    ),
    "torch_export": Format(torch_export_format, ".pt2", "PyTorch"),
    "executorch": Format(
        executorch_format, ".pte", "ExecuTorch", ("executorch", "torchao"), EXTRA.format("edge")
    ),
    "litert": Format(
        litert_format,
        ".tflite",
        "LiteRT",
        ("litert_torch", "ai_edge_litert"),
        "it needs an environment of its own, python -m venv litert && litert/bin/pip install "
        "litert-torch -e . (its versions of other packages differ)",
    ),
    "coreml": Format(
        coreml_format, ".mlpackage", "Core ML", ("coremltools",), EXTRA.format("edge")
    ),
    "openvino": Format(
        openvino_format,
        ".xml",
        "OpenVINO",
        ("openvino", "onnx", "onnxscript"),
        EXTRA.format("export"),
    ),
    "safetensors": Format(safetensors_format, ".safetensors", "PyTorch"),
}
PREPROCESS = ("onnx", "torch_export", "openvino")
INT8 = tuple(name for name, format in FORMATS.items() if hasattr(format.module, "write_int8"))


def check(formats: Iterable[str], quantize: str | None, preprocess: bool) -> None:
    """Raises ValueError unless all of these can be written here, with these options."""
    for name in formats:
        FORMATS[name].check_installed(name)
        if quantize and name not in INT8:
            raise ValueError(f"quantize={quantize} knows {' and '.join(INT8)}, not {name}")
        if preprocess and name not in PREPROCESS:
            raise ValueError(f"preprocess=true knows {', '.join(PREPROCESS)}, not {name}")
    if quantize and preprocess:
        raise ValueError("quantize and preprocess=true don't go together: leave one out")
