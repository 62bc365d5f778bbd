"""Limits on what is read, and the error for a file that is not read."""

import json
from typing import Any

MAX_BYTES = 2 << 30  # of a file, and of what it unpacks to
MAX_MEMBERS = 20_000  # of an archive: files, groups, arrays
MAX_RATIO = 100  # bytes unpacked to bytes of the archive
ANY_RATIO_BYTES = 64 << 20  # up to this size unpacked, any ratio is fine
MAX_JSON_BYTES = 16 << 20  # a model's config takes less than 1 MB


class UnreadableFile(ValueError):
    """A file that is not read. The message follows the file's path in the user's sentence."""


def check_size(size: int, verb: str) -> None:
    """Raise UnreadableFile for too many bytes; `verb` is "is" or "would unpack to"."""
    if size > MAX_BYTES:
        raise UnreadableFile(
            f"{verb} {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB are read"
        )


def check_ratio(size: int, packed: int) -> None:
    """Raise UnreadableFile for an archive that is compressed further than weights can be."""
    if size > max(ANY_RATIO_BYTES, MAX_RATIO * packed):
        raise UnreadableFile(
            f"would unpack to {size / 1e6:,.0f} MB, {size / packed:,.0f} times its own size; at "
            f"most {MAX_RATIO} times are read"
        )


def check_count(number: int, things: str) -> None:
    """Raise UnreadableFile for too many members, groups or arrays."""
    if number > MAX_MEMBERS:
        raise UnreadableFile(f"holds {number:,} {things}; at most {MAX_MEMBERS:,} are read")


def parse_json_object(text: str | bytes, name: str) -> dict[str, Any]:
    """Parse the JSON object in `text`, which is `name` in the file."""
    if len(text) > MAX_JSON_BYTES:
        raise UnreadableFile(
            f"has {len(text) / 1e6:.0f} MB of JSON in {name}; at most "
            f"{MAX_JSON_BYTES / 1e6:.0f} MB are read"
        )
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise UnreadableFile(
            f"has a {type(parsed).__name__} where {name} is a JSON object: get it again"
        )
    return parsed
