"""Each format's own runtime computes what the net computes in PyTorch, for any batch size."""

import json
from typing import get_args

import pytest
import torch

from mobilenets.config.schema import ExportFormat
from mobilenets.export import FORMATS, check_formats, make_runner
from mobilenets.export.quiet import quiet


def require(name):
    """Return a format, or skip the test if its packages are not installed."""
    try:
        FORMATS[name].check_installed(name)
    except ValueError as error:
        pytest.skip(str(error))
    return FORMATS[name]


RUN_HERE = [name for name in FORMATS if name != "coreml"]
V1 = {"name": "mobilenet_v1", "padding": "same", "bn_eps": 1e-3}
V2 = {"name": "mobilenet_v2"}
GREY = {"name": "mobilenet_v2", "in_channels": 1, "padding": "same", "activation": "relu"}
LONG = ("executorch", "litert", "openvino")  # these take their time


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


CASES = [
    slow(name, net) if name in LONG else (name, net) for name in RUN_HERE for net in (V1, V2, GREY)
]


@pytest.fixture(scope="module")
def write(exportable, tmp_path_factory):
    """write(format, net) -> a net and its file, written once for all tests."""
    written = {}

    def write(format, net):
        key = format, str(net)
        if key not in written:
            kind, model = require(format), exportable(**net)
            path = tmp_path_factory.mktemp("exported") / f"net{kind.suffix}"
            kind.module.write(model, path)
            written[key] = model, path
        return written[key]

    return write


def test_the_config_offers_every_format():
    assert sorted(get_args(ExportFormat)) == sorted(FORMATS)


@pytest.mark.parametrize(("format", "net"), CASES)
def test_logits_are_those_of_the_trained_net(format, net, write):
    model, path = write(format, net)
    run, trained = FORMATS[format].module.load(path, 1), make_runner(model.weights.build())
    for size in (1, 2, 5):
        images = model.random_inputs(size)
        expected = trained(images)
        assert expected.abs().max() > 0.2
        torch.testing.assert_close(run(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_batch_larger_than_executorch_plans_for_is_split(write):
    kind, (model, path) = require("executorch"), write("executorch", V2)
    images = model.random_inputs(kind.max_batch_size + 3)
    logits = kind.module.load(path, 1)(images)
    torch.testing.assert_close(logits, make_runner(model.net)(images), rtol=1e-4, atol=1e-4)


def test_the_onnx_graph_is_folded_and_padded_and_has_metadata(write):
    require("onnx")
    import onnx

    model, path = write("onnx", V1)
    file = onnx.load(path)
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


@pytest.mark.slow
def test_other_files_have_metadata_too(write):
    extra = {"class_names": "", "preprocessing": ""}
    torch.export.load(write("torch_export", V2)[1], extra_files=extra)
    assert json.loads(extra["class_names"]) == list("abcde")
    openvino = pytest.importorskip("openvino")
    read = openvino.Core().read_model(write("openvino", V2)[1])
    assert json.loads(read.get_rt_info(["mobilenets", "class_names"]).astype(str)) == list("abcde")


@pytest.mark.slow
def test_core_ml_packages_are_written_anywhere(exportable, tmp_path):
    kind, model = require("coreml"), exportable(padding="same")
    kind.module.write(model, tmp_path / "net.mlpackage")
    coremltools = pytest.importorskip("coremltools")
    spec = coremltools.utils.load_spec(str(tmp_path / "net.mlpackage"))
    metadata = spec.description.metadata.userDefined
    assert json.loads(metadata["class_names"]) == list("abcde")
    (images,) = spec.description.input
    batch = images.type.multiArrayType.shapeRange.sizeRanges[0]
    assert (batch.lowerBound, batch.upperBound) == (1, kind.max_batch_size) == (1, 64)


@pytest.mark.parametrize(
    ("format", "name"),
    [
        slow("onnx", "mobilenet_v1"),
        ("onnx", "mobilenet_v2"),
        slow("executorch", "mobilenet_v2"),
    ],
)
def test_int8_stays_near_float_and_measures_every_layer(format, name, exportable, tmp_path):
    kind, model = require(format), exportable(name, padding="same")
    path = tmp_path / f"net{kind.suffix}"
    batches = [model.random_inputs(16)]
    measure_snr = kind.module.write_int8(model, batches, path)
    run = kind.module.load(path, 1)
    images = torch.randn(40, 3, 32, 32)
    expected = make_runner(model.net)(images)
    error = (run(images) - expected).abs().mean() / expected.std()
    assert 0 < error < 0.2
    for size in (1, 3):
        assert run(images[:size]).shape == (size, 5)
    layers = measure_snr(batches)
    names = [layer.layer for layer in layers]
    convolutions = [k for k, m in model.net.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert sorted(names) == sorted([*convolutions, "classifier.1"])
    assert all(10 < layer.decibels < 80 for layer in layers), layers


@pytest.mark.slow
def test_executorch_quantizes_the_output_of_a_relu6_not_its_input(exportable):
    kind, model = require("executorch"), exportable("mobilenet_v1")
    with quiet():
        graph = kind.module.quantize(model, [model.random_inputs(8)]).graph
    relu6 = [node for node in graph.nodes if "hardtanh" in str(node.target)]
    assert len(relu6) == 17
    for node in relu6:
        assert "conv2d" in str(node.args[0].target)
        assert all("quantize_per_tensor" in str(user.target) for user in node.users)


def test_missing_packages_are_named_with_how_to_install_them(monkeypatch):
    monkeypatch.setattr("mobilenets.imports.find_spec", lambda name: None)
    hint = 'needs onnx, onnxscript, onnxruntime: pip install -e "'
    with pytest.raises(ValueError, match=hint):
        check_formats(["safetensors", "onnx"], None, False)
    with pytest.raises(ValueError, match="an environment of its own"):
        check_formats(["litert"], None, False)
    check_formats(["torch_export", "safetensors"], None, False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((["torch_export"], "int8", False), "torch_export has no int8: choose onnx"),
        ((["safetensors"], None, True), "safetensors can't preprocess images: choose onnx, torch"),
    ],
)
def test_options_that_a_format_lacks_are_errors(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_formats(*arguments)
