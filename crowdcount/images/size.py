"""Size of an image file from its header."""

from pathlib import Path
from typing import Final

import PIL.Image

_ORIENTATION: Final = 0x0112  # EXIF tag; 5 to 8 swap the sides
_PLAIN: Final = frozenset(["BMP", "PNG", "WEBP"])  # upright as stored, unless they carry EXIF data


def upright_size(path: Path) -> tuple[int, int] | None:
    """Return the width and height of the upright image in a file, without decoding it.

    Returns:
        None if the header is not readable, or the format has rotations whose rules are those of its decoder.
    """
    try:
        with PIL.Image.open(path) as image:
            kind, (width, height) = image.format, image.size
            if kind == "JPEG":
                turned = image.getexif().get(_ORIENTATION, 1) in range(5, 9)
                return (height, width) if turned else (width, height)
            return (width, height) if kind in _PLAIN and "exif" not in image.info else None
    except Exception:  # Pillow raises nearly anything for a damaged file; who decodes it says why
        return None
