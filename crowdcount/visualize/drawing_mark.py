"""A mark in the files of drawings, by which they are told from images to count in."""

import zlib
from pathlib import Path
from typing import Final

from crowdcount.images.read import Image
from crowdcount.visualize.density import image_bytes

MARK: Final = "drawn by crowdcount"
_TEXT: Final = b"Software\0" + MARK.encode()
_CHUNK: Final = len(_TEXT).to_bytes(4, "big") + b"tEXt" + _TEXT + zlib.crc32(b"tEXt" + _TEXT).to_bytes(4, "big")
_HEAD: Final = 8 + 25
"""Bytes of a PNG before its second chunk: the signature and the header chunk."""


def drawing_bytes(drawing: Image) -> bytes:
    """Return a drawing (H, W, 3) uint8 RGB as a PNG that `is_drawing` knows."""
    data = image_bytes(drawing)
    return data[:_HEAD] + _CHUNK + data[_HEAD:]


def is_drawing(path: Path) -> bool:
    """Return whether a file is a PNG of `drawing_bytes`; False if it cannot be read."""
    if path.suffix.lower() != ".png":
        return False
    try:
        with path.open("rb") as file:
            return is_drawn(file.read(_HEAD + len(_CHUNK)))
    except (OSError, ValueError):  # whoever decodes it says why
        return False


def is_drawn(data: bytes) -> bool:
    """Return whether the bytes of a file, or its first ones, are those of `drawing_bytes`."""
    return data[: _HEAD + len(_CHUNK)].endswith(_CHUNK)
