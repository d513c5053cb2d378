"""WebP files: their header (RFC 9649)."""

from crowdcount.errors import InputError
from crowdcount.images.header import Header


def read_header(data: bytes, name: str) -> Header:
    """Return the header of a WebP file, whose pixels can take any small number of bytes.

    Raises:
        InputError: if it has no size.
    """
    kind, frames = data[12:16], 1
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        frames = data.count(b"ANMF") if data[20] & 2 else 1
    elif kind == b"VP8L" and len(data) >= 25:
        sizes = int.from_bytes(data[21:25], "little")
        width, height = 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
    elif kind == b"VP8 " and len(data) >= 30:
        width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    else:
        raise InputError(f"{name}: is damaged (its header has no size); copy it again from where it came from")
    return Header(width, height, held=8, frames=frames)
