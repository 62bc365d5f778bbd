"""Files of the safetensors library."""

from pathlib import Path

from mobilenets.weights.files.limits import UnreadableFile
from mobilenets.weights.files.raw_weights import RawWeights
from mobilenets.weights.files.state_dict import unwrap

LENGTH_BYTES = 8  # at the start: the length of the header
MAX_HEADER_BYTES = 100_000_000  # the library's own limit


def read_safetensors(path: Path) -> RawWeights:
    """Read all tensors of the file; `content` is its metadata."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        header = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if header > min(MAX_HEADER_BYTES, path.stat().st_size - LENGTH_BYTES):
        raise UnreadableFile(
            f"claims a header of {header:,} bytes, more than the file holds or the 100 MB that are "
            "read: it is damaged or was cut short, so get it again"
        )
    try:
        with safe_open(path, framework="pt") as weights:
            content = dict(weights.metadata() or {})
            state_dict = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UnreadableFile(f"is a damaged safetensors file ({error}): get it again") from error
    tensors, ignored = unwrap(state_dict)
    return RawWeights("safetensors", tensors, content, ignored)
