"""ExecuTorch's .pte with XNNPACK, for phones and boards. Reference: docs.pytorch.org/executorch."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilenets.export import torch_export_format
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.layer_snr import LayerNoise, MeasureNoise, NoiseMeter
from mobilenets.export.quiet import quiet

MOST = 64  # images in a batch: memory is planned for so many


def write(model: Exportable, path: Path) -> None:
    """Writes a net for batches of up to `MOST` images."""
    with quiet():
        lower(torch_export_format.export(model, MOST), path)


def lower(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes a graph, its convolutions given to XNNPACK."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def load(path: Path, num_threads: int | None = None) -> Runner:
    """What runs a file in ExecuTorch; None: with as many threads as torch has."""
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(num_threads or torch.get_num_threads())
        method = Runtime.get().load_program(path).load_method("forward")

    def run(images: Tensor) -> Tensor:
        parts = images.contiguous().split(MOST)
        return torch.cat([method.execute([part])[0].clone() for part in parts])

    return run


def write_int8(model: Exportable, batches: Iterable[Tensor], path: Path) -> MeasureNoise:
    """Writes a net with int8 weights, a scale for each output channel, and int8 activations.

    Args:
        batches: inputs of the net (N, C, H, W) to measure the ranges of activations on.

    Returns:
        What measures the noise of its layers.
    """
    with quiet():
        converted = quantized(model, batches)
        lower(torch_export_format.export(model, MOST, converted), path)
    return partial(measure_layer_snr, model, converted)


def quantized(model: Exportable, batches: Iterable[Tensor]) -> Any:
    """The graph of a net with what rounds its weights and activations, as a module of PyTorch.

    Reference: docs.pytorch.org/ao, "PyTorch 2 Export Post Training Quantization".
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(torch_export_format.export(model, MOST).module(), _quantizer())
    with torch.inference_mode():
        for batch in batches:
            for part in batch.split(MOST):
                prepared(part)
    return convert_pt2e(prepared)


def _quantizer() -> Any:
    """XNNPACK's, which rounds what a ReLU6 gives, too, not what it takes.

    XNNPACK runs a convolution and its ReLU6 as one, but its quantizer knows that of ReLU only. The
    range of a convolution's output before a ReLU6 can be many times 6, and what is left of the
    range from 0 to 6 then is a few steps: Google's MobileNetV1 0.25 lost 13 points.
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


def measure_layer_snr(
    model: Exportable, converted: Any, batches: Iterable[Tensor]
) -> list[LayerNoise]:
    """What int8 changes in the output of each convolution and of the classifier.

    Outputs are those before the activation, where there is one.

    Args:
        converted: what `quantized` made of the net.
        batches: inputs of the net.
    """
    meter = NoiseMeter()
    with quiet():
        exact = torch_export_format.export(model, MOST).module()
        for batch in batches:
            outputs = [_Outputs(graph) for graph in (exact, converted)]  # type: ignore[arg-type]
            for run in outputs:
                run.run(batch)
            for name, one in outputs[0].found.items():
                meter.add(outputs[0].layers[name], one, outputs[1].found[name])
    return meter.layers()


class _Outputs(torch.fx.Interpreter):
    """Runs a graph and keeps what its convolutions and linear layers give."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[str, Tensor] = {}  # by the name of the node
        self.layers: dict[str, str] = {}

    @torch.inference_mode()
    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if any(f"{name}.default" in str(node.target) for name in ("conv2d", "linear")):
            self.found[node.name] = result.clone()  # before an activation that works in place
            weight = getattr(node.args[1], "target", node.name)
            self.layers[node.name] = str(weight).removesuffix(".weight")
        return result
