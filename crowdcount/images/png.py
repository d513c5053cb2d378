"""PNG files: their header, and checksums of their chunks (ISO/IEC 15948)."""

import zlib
from collections.abc import Iterator
from typing import Final

from crowdcount.errors import InputError
from crowdcount.images.header import DEFLATE, Header

_AGAIN: Final = "copy it again from where it came from"
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Number of channels by colour type."""


def read_header(data: bytes, name: str) -> Header:
    """Return the header of a PNG file.

    Raises:
        InputError: if the file ends before its last chunk.
    """
    frames = 1
    for kind, start, _ in _chunks(data, name):
        if kind == b"acTL":
            frames = int.from_bytes(data[start : start + 4], "big")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    depth = data[24]
    bits, deep = depth * _CHANNELS.get(data[25], 4), depth > 8
    return Header(width, height, bits, DEFLATE, deep, 12 if deep else 3, frames=frames)


def check_sums(data: bytes, name: str) -> None:
    """Check the checksums of what the pixels need; the decoder does so as well, without naming the place.

    Raises:
        InputError: if one is wrong.
    """
    for kind, start, end in _chunks(data, name):
        # a letter in upper case says that the image cannot be drawn without the chunk
        needed = kind[:1].isupper()
        if needed and zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise InputError(f"{name}: is damaged (checksum of {kind.decode('latin-1')!r} at byte {start}); {_AGAIN}")


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each chunk."""
    position, kind = 8, b""
    while kind != b"IEND":
        kind, start = data[position + 4 : position + 8], position + 8
        end = start + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data) or (position == 8 and kind != b"IHDR"):
            raise InputError(f"{name}: is damaged (it ends, or is overwritten, at byte {position}); {_AGAIN}")
        yield kind, start, end
        position = end + 4
