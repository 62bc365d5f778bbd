"""How much of a file is read at most, and how a file is refused."""

import json
from typing import Any

MAX_BYTES = 2 << 30  # of a file, and of what it unpacks to
MAX_MEMBERS = 20_000  # of an archive: files, groups, arrays
MAX_RATIO, LARGE = 100, 64 << 20  # bytes unpacked to bytes of the archive, of what is large
MAX_JSON_BYTES = 16 << 20  # a model's config has less than 1 MB


class UnreadableFile(ValueError):
    """Why a file is not read: the words that follow its path in the sentence for the user."""


def check_size(size: int, verb: str) -> None:
    """Refuses a file that has ("is") or would unpack to ("would unpack to") too many bytes."""
    if size > MAX_BYTES:
        raise UnreadableFile(
            f"{verb} {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB are read"
        )


def check_ratio(size: int, packed: int) -> None:
    """Refuses an archive that would unpack to a multiple of itself as no weights do."""
    if size > max(LARGE, MAX_RATIO * packed):
        raise UnreadableFile(
            f"would unpack to {size / 1e6:,.0f} MB, {size / packed:,.0f} times its own size; at "
            f"most {MAX_RATIO} times are read"
        )


def check_count(number: int, things: str) -> None:
    """Refuses a file with too many members, groups or arrays."""
    if number > MAX_MEMBERS:
        raise UnreadableFile(f"holds {number:,} {things}; at most {MAX_MEMBERS:,} are read")


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """The JSON object in `text`; `what` names its place in the file."""
    if len(text) > MAX_JSON_BYTES:
        raise UnreadableFile(
            f"has {len(text) / 1e6:.0f} MB of JSON in {what}; at most "
            f"{MAX_JSON_BYTES / 1e6:.0f} MB are read"
        )
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise UnreadableFile(
            f"has a {type(parsed).__name__} where {what} is a JSON object: get it again"
        )
    return parsed
