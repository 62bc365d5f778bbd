"""ExecuTorch's .pte with XNNPACK, for phones and boards. Reference: docs.pytorch.org/executorch."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.layer_snr import LayerSNR, MeasureSNR, SNRMeter
from mobilenets.export.quiet import quiet
from mobilenets.export.torch_export_format import MAX_BATCH_SIZE, export_program


def write(model: Exportable, path: Path) -> None:
    """Export a net."""
    with quiet():
        lower(export_program(model, MAX_BATCH_SIZE), path)


def lower(program: torch.export.ExportedProgram, path: Path) -> None:
    """Delegate a program to XNNPACK, and write it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in ExecuTorch; None = as many threads as torch has."""
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(num_threads or torch.get_num_threads())
        method = Runtime.get().load_program(path).load_method("forward")

    def run(images: Tensor) -> Tensor:
        parts = images.contiguous().split(MAX_BATCH_SIZE)
        return torch.cat([method.execute([part])[0].clone() for part in parts])

    return run


def write_int8(model: Exportable, calibration: Iterable[Tensor], path: Path) -> MeasureSNR:
    """Export a net with int8 weights, one scale per output channel, and int8 activations.

    Args:
        model: the net.
        calibration: batches (N, C, H, W) that give the ranges of the activations.
        path: of the file.

    Returns:
        A function that measures the SNR of each layer.
    """
    with quiet():
        quantized = quantize(model, calibration)
        lower(export_program(model, MAX_BATCH_SIZE, quantized), path)
    return partial(_measure_snr, model, quantized)


def quantize(model: Exportable, calibration: Iterable[Tensor]) -> Any:
    """Return the net as a torch.fx module that rounds its weights and activations to int8.

    Reference: docs.pytorch.org/ao, "PyTorch 2 Export Post Training Quantization".
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(export_program(model, MAX_BATCH_SIZE).module(), _make_quantizer())
    with torch.inference_mode():
        for batch in calibration:
            for part in batch.split(MAX_BATCH_SIZE):
                prepared(part)
    return convert_pt2e(prepared)


def _make_quantizer() -> Any:
    """Return XNNPACK's quantizer, taught to quantize a ReLU6's output and not its input.

    XNNPACK fuses a convolution with its ReLU6, but its quantizer knows only the fusion with a ReLU.
    A convolution's output before a ReLU6 can range far beyond 6, which leaves only a few int8 steps
    for the values between 0 and 6: Google's MobileNetV1 0.25 lost 13 points of top-1.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    aten = torch.ops.aten
    relu6, convolution = (aten.hardtanh.default, aten.hardtanh_.default), aten.conv2d.default
    config = get_symmetric_quantization_config(is_per_channel=True)

    class Quantizer(XNNPACKQuantizer):
        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            for node in model.graph.nodes:
                if node.op == "call_function" and node.target in relu6:
                    conv = node.args[0]
                    if conv.target is convolution and len(conv.users) == 1:
                        specs = config.input_activation, config.weight, config.bias
                        conv.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                            input_qspec_map=dict(zip(conv.args[:3], specs, strict=False)),
                            _annotated=True,
                        )
                        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                            output_qspec=config.output_activation, _annotated=True
                        )
            return super().annotate(model)

    return Quantizer().set_global(config)


def _measure_snr(model: Exportable, quantized: Any, batches: Iterable[Tensor]) -> list[LayerSNR]:
    """Measure the SNR of each convolution's and the classifier's output, before the activation.

    Args:
        model: the net.
        quantized: the same in int8, from `quantize`.
        batches: inputs of the net.
    """
    meter = SNRMeter()
    with quiet():
        exact = export_program(model, MAX_BATCH_SIZE).module()
        for batch in batches:
            outputs = [_LayerOutputs(graph) for graph in (exact, quantized)]  # type: ignore[arg-type]
            for interpreter in outputs:
                interpreter.run(batch)
            for node, output in outputs[0].outputs.items():
                meter.update(outputs[0].layers[node], output, outputs[1].outputs[node])
    return meter.compute()


class _LayerOutputs(torch.fx.Interpreter):
    """An interpreter that keeps the outputs of convolutions and linear layers."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.outputs: dict[str, Tensor] = {}  # by node name
        self.layers: dict[str, str] = {}  # node name -> layer

    @torch.inference_mode()
    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if any(f"{name}.default" in str(node.target) for name in ("conv2d", "linear")):
            self.outputs[node.name] = result.clone()  # an activation may change it in place
            weight = getattr(node.args[1], "target", node.name)
            self.layers[node.name] = str(weight).removesuffix(".weight")
        return result
