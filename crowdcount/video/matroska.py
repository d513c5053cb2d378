"""Matroska and WebM files that were cut off, by the sizes of their elements (RFC 8794, EBML)."""

from pathlib import Path
from typing import BinaryIO, Final, Literal

_LONGEST_ID: Final = 4
_LONGEST_SIZE: Final = 8
_SEGMENT: Final = 0x8538067, 4
_WITH_FRAMES: Final = {(0xF43B675, 4), (0x20, 1), (0x23, 1)}
"""Cluster, BlockGroup and SimpleBlock: identifiers as `_number` reads them."""

Cut = Literal["no", "frames", "other"]


def find_cut(path: Path) -> Cut:
    """Return whether a file ends within an element, and whether that is one of frames or another, such as an index.

    FFmpeg drops the incomplete element without an error. An element of unknown size, as live recordings have, and a
    segment that is cut are entered; others are skipped as a whole, so that few bytes are read.

    Raises:
        OSError: the file cannot be read.
    """
    end, place, cut = path.stat().st_size, 0, False
    with path.open("rb") as file:
        while place < end:
            file.seek(place)
            kind = _number(file, _LONGEST_ID)
            size = None if kind is None else _number(file, _LONGEST_SIZE)
            if kind is None or size is None:  # cut off, or damage, which is the decoder's to find
                return "other" if cut or end - place < _LONGEST_ID + _LONGEST_SIZE else "no"
            start, after = file.tell(), file.tell() + (0 if _is_unknown(*size) else size[0])
            cut |= after > end
            place = start if kind == _SEGMENT and cut else after
    if not cut:
        return "no"
    return "frames" if place > end and kind in _WITH_FRAMES else "other"


def _number(file: BinaryIO, longest: int) -> tuple[int, int] | None:
    """Read a number of variable length: its value and its bytes; None if it is invalid or cut off."""
    first = file.read(1)
    if not first:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1) if length <= longest else b""
    if length > longest or len(rest) < length - 1:
        return None
    return int.from_bytes(bytes([first[0] & (0xFF >> length)]) + rest, "big"), length


def _is_unknown(value: int, length: int) -> bool:
    """Return whether a size has all bits set, which stands for an unknown one."""
    return value == (1 << 7 * length) - 1
