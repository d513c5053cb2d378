"""Masks: marked pixels of an image, from a file or an array."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside
from crowdcount.images.formats import IMAGE_SUFFIXES, image_format
from crowdcount.images.read import decode_values
from crowdcount.local_path import local_path

_LOSSY: Final = ("JPEG", "JPEG 2000", "AVIF", "HEIC")
"""Formats of images that change pixels near an edge, as WebP does unless it is lossless."""


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask image: (height, width), true where a pixel is not black; upright, as `read_image`.

    Raises:
        InputError: the file is missing, damaged, of a format that blurs edges, transparent, or black everywhere.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such mask; give an image such as .png, black where nothing is marked")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: a mask is an image such as .png, black where nothing is marked")
    data = path.read_bytes()
    kind = image_format(data)
    if kind in _LOSSY or (kind == "WebP" and b"VP8L" not in data):  # the name of the chunk of lossless WebP
        raise InputError(f"{path}: {kind} blurs the edge of a mask; save it as PNG, black outside")
    # Decoded like read_image, so that both are upright, but with 16 bits: in 8, labels 1 to 255 would become black.
    pixels = decode_values(data, str(path))
    if _is_transparent(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)):
        raise InputError(
            f"{path}: some pixels are transparent, which may mean inside or outside; save it without alpha"
        )
    mask = np.asarray(pixels.any(axis=2))
    if not mask.any():
        raise InputError(f"{path}: is empty, all pixels are black; paint the area that is meant")
    return mask


def _is_transparent(pixels: NDArray[Any] | None) -> bool:
    alpha = pixels[..., 3] if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 4 else np.ones(1)
    return bool(alpha.min() < max(1, alpha.max()))


@dataclass(frozen=True, eq=False)
class IgnoreMask:
    """The pixels of a camera's images where nobody is counted, such as posters, screens or another street.

    Equal masks are equal objects.

    Attributes:
        pixels: (height, width) bool, true where nobody is counted.
        name: file or "ignore", for messages.

    Raises:
        InputError: the array is no such mask, marks nothing, or everything.
    """

    pixels: NDArray[np.bool_]
    name: str = "ignore"

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != bool:
            raise InputError(
                f"{self.name}: the mask is {self.pixels.dtype} of shape {self.pixels.shape}, expected bool of shape "
                "(height, width); give mask > 0"
            )
        if not self.pixels.any():
            raise InputError(f"{self.name}: the mask marks nothing; leave it out, or paint what is not to be counted")
        if self.pixels.all():
            raise InputError(f"{self.name}: the mask marks every pixel, so that nobody is counted; paint less")

    @classmethod
    def make(cls, value: "Path | str | NDArray[np.bool_] | IgnoreMask") -> "IgnoreMask":
        """Return the mask of a file, in which marked pixels are not black, or of an array.

        Raises:
            InputError: see `read_mask` and the class.
        """
        if isinstance(value, IgnoreMask):
            return value
        if isinstance(value, np.ndarray):
            return cls(value.copy())  # a caller may go on painting
        return cls(read_mask(local_path(value)), str(value))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and pixels."""
        return hashlib.sha256(str(self.pixels.shape).encode() + np.packbits(self.pixels).tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IgnoreMask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def covers(self, points: Points, height: int, width: int) -> NDArray[np.bool_]:
        """Return which points (N, 2) of an image of this size are on marked pixels, (N,); none outside the image is."""
        rows, columns = self.pixels.shape
        found = inside(points, width, height)
        x, y = (points[found].astype(np.float64) * (columns / width, rows / height)).astype(np.int64).T
        found[found] = self.pixels[np.minimum(y, rows - 1), np.minimum(x, columns - 1)]
        return found

    def check(self, height: int, width: int) -> None:
        """Check that the mask has the size of an image in pixels.

        Raises:
            InputError: it has not.
        """
        rows, columns = self.pixels.shape
        if (rows, columns) != (height, width):
            raise InputError(
                f"{self.name}: the mask is {columns} x {rows} pixels, the image {width} x {height} (width x height); "
                "paint the mask on this image, upright and at full size"
            )
