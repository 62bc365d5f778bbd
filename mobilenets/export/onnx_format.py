"""ONNX's .onnx, for ONNX Runtime and many other runtimes. Reference: onnx.ai."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.layer_snr import LayerSNR, MeasureSNR, SNRMeter
from mobilenets.export.quiet import quiet
from mobilenets.export.torch_export_format import export_program

OPSET = 18  # the first whose Resize supports antialiasing
INPUT, OUTPUT = "images", "logits"


def write(model: Exportable, path: Path) -> None:
    """Export a net, `images` -> `logits`."""
    with quiet():
        program = torch.onnx.export(
            export_program(model),
            dynamo=True,
            dynamic_shapes=model.dynamic_shapes(),  # gives the dimensions their names
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(model.metadata())
        program.save(path)


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in ONNX Runtime; None = as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or torch.get_num_threads()
    # Threads that spin between calls would delay torch's by tenths of a second.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return run


def write_int8(model: Exportable, calibration: Iterable[Tensor], path: Path) -> MeasureSNR:
    """Export a net with int8 weights and activations, in the QDQ form that ONNX Runtime fuses.

    Weights have one scale per output channel: with one for all, the channels that BatchNorm folding
    makes small would lose their bits.

    Args:
        model: the net.
        calibration: batches (N, C, H, W) that give the ranges of the activations.
        path: of the file.

    Returns:
        A function that measures the SNR of each layer.

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
            _CalibrationBatches(calibration),  # type: ignore[arg-type]
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,  # QInt8 leaves layers in float32 on x86
        )
        quantized = onnx.load(path)
        onnx.helper.set_model_props(quantized, model.metadata())
        onnx.save(quantized, path)
        return partial(_measure_snr, onnx.load(exact), quantized)


class _CalibrationBatches:
    """Batches with the interface of ONNX Runtime's CalibrationDataReader."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.contiguous().numpy()}


def _measure_snr(exact: Any, quantized: Any, batches: Iterable[Tensor]) -> list[LayerSNR]:
    """Measure the SNR of each convolution's and the classifier's output, after the activation.

    Args:
        exact: the ONNX model in float32.
        quantized: the same in int8.
        batches: inputs of the net.
    """
    graph = exact.graph
    quantized_names = {name for node in quantized.graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    clips = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Clip"}
    names = {}  # layer -> the name of its output in either graph
    for node in graph.node:
        kernels = [name for name in node.input if name in weights and "weight" in name]
        if node.op_type in ("Conv", "Gemm") and kernels:
            output = clips.get(node.output[0], node.output[0])
            after = output if output == OUTPUT else f"{output}_DequantizeLinear_Output"
            if after in quantized_names:
                names[kernels[0].removesuffix(".weight")] = (output, after)
    meter = SNRMeter()
    with quiet():
        runs = [
            _expose_outputs(model, [pair[i] for pair in names.values()])
            for i, model in enumerate((exact, quantized))
        ]
        for batch in batches:
            for layer, *outputs in zip(names, *(run(batch) for run in runs), strict=True):
                meter.update(layer, *outputs)
    return meter.compute()


def _expose_outputs(model: Any, names: Sequence[str]) -> Callable[[Tensor], list[Tensor]]:
    """Return a function that runs an ONNX model and returns these tensors of its graph."""
    import onnx
    import onnxruntime

    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> list[Tensor]:
        outputs = session.run(list(names), {INPUT: images.contiguous().numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return run
