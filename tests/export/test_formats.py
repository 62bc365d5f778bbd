"""Each format's own runtime computes what the net computes in PyTorch, for any size of batch."""

import json

import pytest
import torch

from mobilenets.export import FORMATS, check
from mobilenets.export.exportable import in_pytorch
from mobilenets.export.quiet import quiet


def installed(name):
    try:
        FORMATS[name].check_installed(name)
    except ValueError as error:
        pytest.skip(str(error))
    return FORMATS[name]


RUN_HERE = [name for name in FORMATS if name != "coreml"]


@pytest.mark.parametrize("format", RUN_HERE)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v1", {"padding": "same", "bn_eps": 1e-3}),
        ("mobilenet_v2", {}),
        ("mobilenet_v2", {"in_channels": 1, "padding": "same", "activation": "relu"}),
    ],
)
def test_logits_are_those_of_the_trained_net(format, name, options, exportable, tmp_path):
    kind, model = installed(format), exportable(name, **options)
    path = tmp_path / f"net{kind.suffix}"
    kind.module.write(model, path)
    run, trained = kind.module.load(path, 1), in_pytorch(model.weights.build())
    for size in (1, 2, 5):
        images = model.example(size)
        expected = trained(images)
        assert expected.abs().max() > 0.2
        torch.testing.assert_close(run(images), expected, rtol=1e-4, atol=1e-4)


def test_a_batch_larger_than_executorch_plans_for_is_split(exportable, tmp_path):
    kind, model = installed("executorch"), exportable()
    kind.module.write(model, tmp_path / "net.pte")
    images = model.example(kind.module.MOST + 3)
    logits = kind.module.load(tmp_path / "net.pte", 1)(images)
    torch.testing.assert_close(logits, in_pytorch(model.net)(images), rtol=1e-4, atol=1e-4)


def test_the_onnx_graph_is_folded_padded_and_explains_itself(exportable, tmp_path):
    installed("onnx")
    import onnx

    model = exportable("mobilenet_v1", padding="same")
    FORMATS["onnx"].module.write(model, tmp_path / "net.onnx")
    file = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(file)
    kinds = [node.op_type for node in file.graph.node]
    assert kinds.count("Conv") == 17
    assert "BatchNormalization" not in kinds
    convolutions = [
        {attribute.name: attribute for attribute in node.attribute}
        for node in file.graph.node
        if node.op_type == "Conv"
    ]
    assert all(a["auto_pad"].s == b"NOTSET" for a in convolutions if "auto_pad" in a)
    assert list(convolutions[0]["pads"].ints) == [0, 0, 1, 1], "TensorFlow's, to the bottom right"
    (images,), (logits,) = file.graph.input, file.graph.output
    dims = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert (images.name, dims) == ("images", ["batch", 3, 32, 32])
    assert logits.name == "logits"
    metadata = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(metadata["class_names"]) == list("abcde")
    assert json.loads(metadata["preprocessing"]) == model.weights.preprocessing


def test_other_files_explain_themselves_too(exportable, tmp_path):
    model = exportable()
    extra = {"class_names": "", "preprocessing": ""}
    FORMATS["torch_export"].module.write(model, tmp_path / "net.pt2")
    torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert json.loads(extra["class_names"]) == list("abcde")
    openvino = pytest.importorskip("openvino")
    installed("openvino").module.write(model, tmp_path / "net.xml")
    read = openvino.Core().read_model(tmp_path / "net.xml")
    assert json.loads(read.get_rt_info(["mobilenets", "class_names"]).astype(str)) == list("abcde")


def test_core_ml_packages_are_written_anywhere(exportable, tmp_path):
    kind, model = installed("coreml"), exportable(padding="same")
    kind.module.write(model, tmp_path / "net.mlpackage")
    coremltools = pytest.importorskip("coremltools")
    spec = coremltools.utils.load_spec(str(tmp_path / "net.mlpackage"))
    metadata = spec.description.metadata.userDefined
    assert json.loads(metadata["class_names"]) == list("abcde")
    (images,) = spec.description.input
    batch = images.type.multiArrayType.shapeRange.sizeRanges[0]
    assert (batch.lowerBound, batch.upperBound) == (1, 64)


@pytest.mark.parametrize(
    ("format", "name"),
    [("onnx", "mobilenet_v1"), ("onnx", "mobilenet_v2"), ("executorch", "mobilenet_v2")],
)
def test_int8_stays_near_float_and_says_where_it_does_not(format, name, exportable, tmp_path):
    kind, model = installed(format), exportable(name, padding="same")
    path = tmp_path / f"net{kind.suffix}"
    batches = [model.example(16)]
    measure_noise = kind.module.write_int8(model, batches, path)
    run = kind.module.load(path, 1)
    images = torch.randn(40, 3, 32, 32)
    expected = in_pytorch(model.net)(images)
    error = (run(images) - expected).abs().mean() / expected.std()
    assert 0 < error < 0.2
    for size in (1, 3):
        assert run(images[:size]).shape == (size, 5)
    layers = measure_noise(batches)
    names = [layer.layer for layer in layers]
    convolutions = [k for k, m in model.net.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert sorted(names) == sorted([*convolutions, "classifier.1"])
    assert all(10 < layer.decibels < 80 for layer in layers), layers


def test_executorch_rounds_what_a_relu6_gives_not_what_it_takes(exportable):
    kind, model = installed("executorch"), exportable("mobilenet_v1")
    with quiet():
        graph = kind.module.quantized(model, [model.example(8)]).graph
    relu6 = [node for node in graph.nodes if "hardtanh" in str(node.target)]
    assert len(relu6) == 17
    for node in relu6:
        assert "conv2d" in str(node.args[0].target)
        assert all("quantize_per_tensor" in str(user.target) for user in node.users)


def test_what_is_missing_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setattr("mobilenets.export.formats.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs onnx, onnxscript, onnxruntime: pip install "mob'):
        check(["safetensors", "onnx"], None, False)
    with pytest.raises(ValueError, match="an environment of its own"):
        check(["litert"], None, False)
    check(["torch_export", "safetensors"], None, False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((["torch_export"], "int8", False), "knows onnx and executorch, not torch_export"),
        ((["safetensors"], None, True), "knows onnx, torch_export, openvino, not safetensors"),
    ],
)
def test_what_a_format_can_not_do_is_said(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(*arguments)
