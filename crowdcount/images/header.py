"""Sizes from the headers of image files, and the refusal of those that promise more than a file or the memory holds."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import PIL.Image

from crowdcount.errors import InputError

_MOST_PIXELS: Final = 2**30  # OpenCV reads no more
_GIB: Final = 2**30
_pillow = threading.Lock()  # its limit of pixels and Python's warnings are those of the whole process

DEFLATE: Final = 1032.0
"""Most bytes that a byte of deflate stands for: 258 of them in two bits."""

LZW: Final = 4096 * 8 / 12
"""Most bytes that a byte of LZW stands for: as many as there are codes of 12 bits."""

_TIFF_RATIOS: Final = {1: 1.0, 5: LZW, 8: DEFLATE, 32946: DEFLATE, 32773: 64.0}
"""Most bytes for a byte by TIFF's number of the compression; those of the others are unlimited or not known."""

_COMPRESSION: Final = 259
_BITS_PER_SAMPLE: Final = 258
_PHOTOMETRIC: Final = 262
_YCBCR: Final = 6


@dataclass(frozen=True)
class Header:
    """Size of an image as its file states it.

    Attributes:
        width: columns, before any rotation.
        height: rows.
        bits: bits per pixel before compression.
        ratio: most bytes before compression that a byte of the file can stand for; None if there is no limit.
        deep: whether a channel has more than 8 bits.
        held: bytes per pixel that decoding takes, with the image itself.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        frames: number of images in the file, where it is an animation.
    """

    width: int
    height: int
    bits: float = 24
    ratio: float | None = None
    deep: bool = False
    held: int = 3
    orientation: int = 1
    frames: int = 1

    @property
    def memory(self) -> int:
        """Bytes for decoding: the image, and what decoders hold beside it."""
        return self.width * self.height * self.held

    def check(self, name: str, size: int, max_memory: float | None = None) -> None:
        """Refuse an image before it is decoded.

        Args:
            name: the file, for messages.
            size: bytes of the file.
            max_memory: limit of the memory for decoding in GiB.

        Raises:
            InputError: if there are more pixels than the file can hold, than OpenCV reads, or than the memory takes.
        """
        promised = f"{name}: its header promises {self.width} x {self.height} pixels"
        if self.ratio is not None and self.width * self.height * self.bits / 8 > self.ratio * size + 4096:
            raise InputError(
                f"{promised}, more than its {size} bytes can hold; it is damaged: copy it again from where it came from"
            )
        if self.width * self.height > _MOST_PIXELS:
            raise InputError(f"{promised}, which is too large to be decoded ({_MOST_PIXELS} pixels); cut or shrink it")
        if max_memory is not None and self.memory > max_memory * _GIB:
            raise InputError(
                f"{promised}; decoding takes {self.memory / _GIB:.2g} GiB, more than max_memory {max_memory:g}: "
                "cut or shrink it, or allow more"
            )


@contextmanager
def opened(data: bytes) -> Iterator[PIL.Image.Image]:
    """Open an image with Pillow, without its limit of pixels and its warnings; its errors pass through."""
    with _pillow:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            with warnings.catch_warnings(action="ignore"), PIL.Image.open(io.BytesIO(data)) as image:
                yield image
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def pillow_header(image: PIL.Image.Image, data: bytes) -> Header:
    """Return the header of an image that Pillow has opened and not yet decoded."""
    bits, ratio, deep = 24.0, None, image.mode[0] in "IF"
    if image.format == "GIF":
        bits, ratio = 8.0, LZW
    elif image.format == "BMP" and int.from_bytes(data[30:34], "little") in (0, 3):
        bits, ratio = float(int.from_bytes(data[28:30], "little")), 1.0
    elif image.format == "TIFF":
        bits, ratio, deep = _tiff(image)
    orientation = int(image.getexif().get(0x112, 1) or 1) if image.format == "AVIF" else 1
    animated = image.format != "TIFF" and getattr(image, "is_animated", False)  # pages of TIFF are often previews
    frames = int(getattr(image, "n_frames", 1)) if animated else 1
    return Header(*image.size, bits, ratio, deep, 12 if deep else 8, orientation, frames)


def _tiff(image: PIL.Image.Image) -> tuple[float, float | None, bool]:
    """Return bits per pixel, ratio and depth of a TIFF file."""
    tags = getattr(image, "tag_v2", {})
    depths = tags.get(_BITS_PER_SAMPLE, (1,))
    depths = depths if isinstance(depths, tuple) else (depths,)
    # chroma of YCbCr may be stored at a quarter of the size, or less
    ratio = None if tags.get(_PHOTOMETRIC) == _YCBCR else _TIFF_RATIOS.get(tags.get(_COMPRESSION, 1))
    return float(sum(depths)), ratio, max(depths) > 8
