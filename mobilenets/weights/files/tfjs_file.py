"""Files of TensorFlow.js: model.json, and the shards beside it that hold the numbers."""

import math
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from mobilenets.weights.files.limits import (
    MAX_JSON_BYTES,
    UnreadableFile,
    check_count,
    check_size,
    parse_json_object,
)
from mobilenets.weights.files.raw_weights import RawWeights

MODEL_FILE = "model.json"
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int32": torch.int32,
    "uint16": torch.uint16,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


def read_tfjs(path: Path) -> RawWeights:
    """Read all weights of the manifest; `content` is Keras's config, empty for a graph model."""
    with path.open("rb") as file:
        model = parse_json_object(file.read(MAX_JSON_BYTES + 1), "the file")
    if "weightsManifest" not in model:
        raise UnreadableFile(
            "is JSON without a weightsManifest, so not a model of TensorFlow.js: give the "
            f"{MODEL_FILE} that tensorflowjs_converter wrote"
        )
    groups = model["weightsManifest"]
    entries = [entry for group in groups for entry in group["weights"]]
    check_count(len(entries), "weights")
    check_size(sum(_count_values(entry) * 4 for entry in entries), "would unpack to")
    tensors: dict[str, Tensor] = {}
    for group in groups:
        tensors |= _read_group(path.parent, group)
    return RawWeights("TensorFlow.js", tensors, _find_config(model.get("modelTopology") or {}), [])


def _find_config(topology: dict[str, Any]) -> dict[str, Any]:
    """Find Keras's config; TensorFlow.js writes it one level higher than its converter."""
    return topology.get("model_config") or (topology if "class_name" in topology else {})


def _read_group(folder: Path, group: dict[str, Any]) -> dict[str, Tensor]:
    """Read the weights of one group of shards."""
    shards = [_find_shard(folder, name) for name in group["paths"]]
    size = sum(shard.stat().st_size for shard in shards)
    needed = sum(_count_values(entry) * _parse_dtype(entry).itemsize for entry in group["weights"])
    if size != needed:
        names = ", ".join(shard.name for shard in shards)
        raise UnreadableFile(
            f"describes {needed:,} bytes of weights in {names}, which hold {size:,}: "
            "copy the shards again"
        )
    data = bytearray(b"".join(shard.read_bytes() for shard in shards))
    tensors, start = {}, 0
    for entry in group["weights"]:
        dtype, length = _parse_dtype(entry), _count_values(entry)
        values = torch.empty(0, dtype=dtype)
        if length:
            values = torch.frombuffer(data, dtype=dtype, count=length, offset=start)
        tensors[entry["name"]] = _dequantize(entry, values.clone()).reshape(entry["shape"])
        start += length * dtype.itemsize
    return tensors


def _find_shard(folder: Path, name: str) -> Path:
    # By Windows' rules, which include both separators and drives.
    if name == ".." or PureWindowsPath(name).name != name or "\0" in name:
        raise UnreadableFile(
            f"names a shard {name!r} that is not a plain file name, so it was not opened"
        )
    shard = folder / name
    if not shard.is_file():
        raise UnreadableFile(
            f"needs the shard {name}, which is not beside it: copy the whole folder"
        )
    return shard


def _count_values(entry: dict[str, Any]) -> int:
    """Count the values of a weight."""
    shape = entry["shape"]
    if not all(type(size) is int and size >= 0 for size in shape):
        raise UnreadableFile(f"gives {entry['name']!r} the shape {shape}: convert the model again")
    return math.prod(shape)


def _parse_dtype(entry: dict[str, Any]) -> torch.dtype:
    """Parse the type of the numbers in the shards."""
    name = entry.get("quantization", entry)["dtype"]
    if name not in DTYPES:
        raise UnreadableFile(
            f"has {entry['name']!r} as {name}; read are {', '.join(DTYPES)}: convert it again"
        )
    return DTYPES[name]


def _dequantize(entry: dict[str, Any], values: Tensor) -> Tensor:
    """Compute q * scale + min; float16 is only cast."""
    quantization = entry.get("quantization")
    if quantization is None:
        return values
    if quantization["dtype"] != "float16":
        values = values.double() * quantization["scale"] + quantization["min"]
        values = values.round() if entry["dtype"] == "int32" else values
    return values.to(DTYPES[entry["dtype"]])
