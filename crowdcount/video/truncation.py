"""Whether a video file holds all the bytes its container announces.

Frames that are missing at the end do not show it: videos trimmed without encoding them again, and videos with longer
sound, have fewer frames to show than they name. The lengths below are exact.
"""

from pathlib import Path
from typing import BinaryIO, Final

_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"mfra", b"uuid")


def is_cut(path: Path) -> bool:
    """Tell whether an MP4, MOV, AVI, MKV or WebM file ends before its container does.

    Returns:
        False also for files of other kinds, and for live recordings whose length was never written.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if start[:4] == b"RIFF":
            return _riff_end(file) > size
        if start[:4] == _EBML:
            return _matroska_end(file) > size
        return start[4:] in _BOXES and _boxes_end(file, size) > size


def _riff_end(file: BinaryIO) -> int:
    """Return where the last RIFF chunk ends: an AVI of more than a gigabyte has several."""
    end = 0
    while (head := file.read(8))[:4] == b"RIFF" and len(head) == 8:
        length = int.from_bytes(head[4:], "little")
        end += 8 + length + length % 2
        file.seek(end)
    return end


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 or MOV ends."""
    end = 0
    while len(head := file.read(16)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length did not fit and stands behind the name
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: to the end of the file; otherwise no box
            return size
        end += length
        file.seek(end)
    return end


def _matroska_end(file: BinaryIO) -> int:
    """Return where the segment ends, 0 where it does not say."""
    file.read(4)
    header = _vint(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """Read a length of Matroska: the number of leading zeros is that of the bytes that follow; all ones is unknown."""
    first = int.from_bytes(file.read(1), "big")
    more = 8 - first.bit_length()
    if more > 7:
        return None
    bits = 7 * (more + 1)
    value = (first << 8 * more | int.from_bytes(file.read(more), "big")) & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
