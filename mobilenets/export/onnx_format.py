"""ONNX, for ONNX Runtime and whoever reads it. Reference: onnx.ai."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mobilenets.export import torch_export_format
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.layer_snr import LayerNoise, MeasureNoise, NoiseMeter
from mobilenets.export.quiet import quiet

OPSET = 18  # the first whose Resize knows antialiasing
INPUT, OUTPUT = "images", "logits"


def write(model: Exportable, path: Path) -> None:
    """Writes a net with any batch size, `images` -> `logits`; the file's metadata explain it."""
    with quiet():
        program = torch.onnx.export(
            torch_export_format.export(model),
            dynamo=True,
            dynamic_shapes=model.dynamic_shapes(),  # their names
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(model.metadata())
        program.save(path)


def load(path: Path, num_threads: int | None = None) -> Runner:
    """What runs a file in ONNX Runtime; None: with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or torch.get_num_threads()
    # Threads that wait for the next call in a loop would hold up torch's, by tenths of a second.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return run


def write_int8(model: Exportable, batches: Iterable[Tensor], path: Path) -> MeasureNoise:
    """Writes a net with int8 weights and activations, in the QDQ form that ONNX Runtime fuses.

    Weights have a scale for each output channel: with one for all, those that BatchNorm folding
    makes small lose their bits. Activations have the range that they take on in `batches`.

    Args:
        batches: inputs of the net (N, C, H, W) to measure the ranges of activations on.

    Returns:
        What measures the noise of its layers.

    Reference: onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder, quiet():
        exact, prepared = Path(folder) / "exact.onnx", Path(folder) / "prepared.onnx"
        write(model, exact)
        quant_pre_process(exact, prepared)
        quantize_static(
            prepared,
            path,
            _Batches(batches),  # type: ignore[arg-type]  # by its method alone
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,  # QInt8 leaves layers in float32 on x86
        )
        quantized = onnx.load(path)
        onnx.helper.set_model_props(quantized, model.metadata())
        onnx.save(quantized, path)
        return partial(measure_layer_snr, onnx.load(exact), quantized)


class _Batches:
    """A CalibrationDataReader of ONNX Runtime."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.contiguous().numpy()}


def measure_layer_snr(exact: Any, quantized: Any, batches: Iterable[Tensor]) -> list[LayerNoise]:
    """What int8 changes in the output of each convolution and of the classifier.

    Outputs are those after the activation, where there is one.

    Args:
        exact: the ONNX model in float32.
        quantized: the same in int8.
        batches: inputs of the net.
    """
    graph = exact.graph
    rounded = {name for node in quantized.graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    clips = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Clip"}
    pairs = {}  # layer -> its output in either graph
    for node in graph.node:
        kernels = [name for name in node.input if name in weights and "weight" in name]
        if node.op_type in ("Conv", "Gemm") and kernels:
            output = clips.get(node.output[0], node.output[0])
            after = output if output == OUTPUT else f"{output}_DequantizeLinear_Output"
            if after in rounded:
                pairs[kernels[0].removesuffix(".weight")] = (output, after)
    meter = NoiseMeter()
    with quiet():
        runs = [
            _with_outputs(model, [pair[i] for pair in pairs.values()])
            for i, model in enumerate((exact, quantized))
        ]
        for batch in batches:
            for layer, one, other in zip(pairs, *(run(batch) for run in runs), strict=True):
                meter.add(layer, one, other)
    return meter.layers()


def _with_outputs(model: Any, names: Sequence[str]) -> Callable[[Tensor], list[Tensor]]:
    """What runs an ONNX model and returns these tensors of its graph."""
    import onnx
    import onnxruntime

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> list[Tensor]:
        outputs = session.run(list(names), {INPUT: images.contiguous().numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return run
