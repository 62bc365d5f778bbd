"""Zip archives, unpacked within bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from mobilenets.weights.files.limits import UnreadableFile, check_count, check_ratio, check_size

ENCRYPTED = 0x1  # bit of a member's flags


@contextmanager
def open_zip(path: Path) -> Iterator[ZipFile]:
    """Open an archive, after a check of the sizes that its members claim to unpack to.

    `ZipFile` reads no member past its claimed size: the rest is dropped and the checksum fails.
    That holds only for deflate, which unpacks in small pieces; other methods are rejected.
    """
    with ZipFile(path) as archive:
        members = archive.infolist()
        check_count(len(members), "members")
        unpacked = sum(member.file_size for member in members)
        check_size(unpacked, "would unpack to")
        check_ratio(unpacked, path.stat().st_size)
        for member in members:
            unusual = member.compress_type not in (ZIP_STORED, ZIP_DEFLATED)
            if unusual or member.flag_bits & ENCRYPTED:
                raise UnreadableFile(
                    f"holds {member.filename!r} encrypted or compressed by an unusual method: "
                    "write it as an ordinary zip archive"
                )
        yield archive
