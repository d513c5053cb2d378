"""Inspection of an image file: storage, decoding and content (as hashes)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import PIL.Image

from crowdcount.doctor.duplicates import Appearance, image_hash
from crowdcount.errors import InputError
from crowdcount.images.header import opened
from crowdcount.images.read import decode

_ORIENTATION: Final = 0x0112
_BITS_PER_SAMPLE: Final = 258  # of TIFF
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_AGAIN: Final = "copy it again from where it came from"
_DEEP: Final = ("I", "F")  # and I;16, I;16B, ...


@dataclass(frozen=True)
class Inspection:
    """Facts about an image file.

    Attributes:
        path: the file.
        problem: reason why it cannot be read completely; empty if it can.
        digest: SHA-256 of its bytes; empty if it does not exist.
        size: (width, height) upright; (0, 0) if it cannot be read.
        traits: those of the checks grey, palette, cmyk, alpha and depth that apply.
        orientation: EXIF orientation; 1 is upright.
        shown: its content; None if it cannot be read.
    """

    path: Path
    problem: str = ""
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    traits: frozenset[str] = frozenset()
    orientation: int = 1
    shown: Appearance | None = None


def inspect_image(path: Path) -> Inspection:
    """Read an image file completely, as training and predictions do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Inspection(path, f"cannot be opened ({error.strerror}); restore it, or allow it to be read")
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Inspection(path, f"is empty; {_AGAIN}", digest)
    try:
        image = decode(data, str(path))
    except InputError as error:  # its path is printed by the report
        return Inspection(path, str(error).removeprefix(f"{path}: "), digest)
    traits, orientation = _stored(data)
    height, width = image.shape[:2]
    shown = image_hash(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8))
    return Inspection(path, "", digest, (width, height), traits, orientation, shown)


def _stored(data: bytes) -> tuple[frozenset[str], int]:
    """Return traits and EXIF orientation of a decodable file; none where Pillow does not know the format."""
    try:
        with opened(data) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return _traits(image, data), orientation if orientation in range(1, 9) else 1
    except Exception:  # Pillow raises nearly anything for metadata that are damaged, and the pixels are not
        return frozenset(), 1


def _traits(image: PIL.Image.Image, data: bytes) -> frozenset[str]:
    mode = image.mode
    found = {
        "grey": mode in ("1", "L", "LA", *_DEEP) or mode.startswith("I;"),
        "palette": mode in ("P", "PA"),
        "cmyk": mode == "CMYK",
        "alpha": mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info,
        "depth": _is_deep(image, data),
    }
    return frozenset(name for name, holds in found.items() if holds)


def _is_deep(image: PIL.Image.Image, data: bytes) -> bool:
    """Return whether a channel has more than 8 bits; Pillow reads PNG files with deep colour as 8 bits."""
    if data.startswith(_PNG):
        return data[24] > 8
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    return max(bits if isinstance(bits, tuple) else (bits,)) > 8 or image.mode in _DEEP or image.mode.startswith("I;")
