"""Reading image files: the one decoder of predictions, training, checks and imports."""

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.images import heif, jpeg, png, webp
from crowdcount.images.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from crowdcount.images.formats import image_format
from crowdcount.images.header import Header, opened, pillow_header
from crowdcount.images.levels import ValueRange, to_uint8
from crowdcount.images.warn_once import warn_once

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

_FEWEST: Final = 4096
"""Zero bytes at the end of a file below which no warning is given."""

_ZEROS: Final = 1 / 8
"""Share of zero bytes at the end of a file from which a warning is given."""


def image_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files of a folder sorted by name, without hidden files and without subfolders."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(path for path in files if path.is_file())


def read_image(path: Path | str, *, max_memory: float | None = None, value_range: ValueRange | None = None) -> Image:
    """Decode an image file to upright RGB uint8: the EXIF rotation is applied, as annotation tools do.

    A file is decoded completely or refused: all that the decoder reports is an error. Damage that cannot be told from
    content, such as zeros at the end of a file without checksums, is logged as a warning. Of an animation the first
    frame is read. Images of more than 8 bits are reduced by `to_uint8`.

    Args:
        path: a file in one of the formats of `IMAGE_SUFFIXES`, whatever its name.
        max_memory: limit in GiB of the memory for decoding, judged by the header.
        value_range: values that become black and white in images of more than 8 bits; see `to_uint8`.

    Raises:
        InputError: if the file is missing, damaged, truncated, of a format that is not read, promises more pixels than
            it or the memory holds, or has a suspicious range of values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, str(path), max_memory=max_memory, value_range=value_range)


def decode(data: bytes, name: str, *, max_memory: float | None = None, value_range: ValueRange | None = None) -> Image:
    """Decode the bytes of an image file; see `read_image`."""
    try:
        values = decode_values(data, name, max_memory)
    except MemoryError as error:
        raise InputError(f"{name}: is too large for the memory that is free; cut or shrink it") from error
    return to_uint8(values, name, value_range)


def decode_values(data: bytes, name: str, max_memory: float | None = None) -> NDArray[Any]:
    """Decode the bytes of an image file to upright RGB (H, W, 3) with the values that it stores; see `read_image`."""
    kind = image_format(data)
    if kind == "JPEG":
        header = jpeg.read_header(data, name)
        header.check(name, len(data), max_memory)
        return jpeg.decode(data, header, name)
    if kind in ("PNG", "WebP"):
        header = (png if kind == "PNG" else webp).read_header(data, name)
        header.check(name, len(data), max_memory)
        _warn_of_frames(header, name)
        if kind == "WebP":
            _warn_of_zeros(data, name)
        return _by_opencv(data, name, header.deep)
    if kind == "HEIC":
        _warn_of_zeros(data, name)
        return heif.decode(data, name, max_memory)
    return _by_pillow_or_opencv(data, kind, name, max_memory)


def _by_pillow_or_opencv(data: bytes, kind: str, name: str, max_memory: float | None) -> NDArray[Any]:
    """Decode the other formats: Pillow reads the header, and decodes what it knows better than OpenCV."""
    try:
        with opened(data) as image:
            header = pillow_header(image, data)
            header.check(name, len(data), max_memory)
            _warn_of_frames(header, name)
            _warn_of_zeros(data, name)
            values = _by_pillow(image, kind, header.deep)
    except PIL.UnidentifiedImageError:
        return _by_opencv(data, name, deep=True)  # it knows kinds of TIFF and others that Pillow does not
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise InputError(
            f"{name}: is damaged ({decoder_message(error)}); copy it again from where it came from"
        ) from error
    if values is None:
        values = _by_opencv(data, name, header.deep)
    return jpeg.turn_upright(values, header.orientation) if kind == "AVIF" and not _only_pillow(kind) else values


def _by_pillow(image: PIL.Image.Image, kind: str, deep: bool) -> NDArray[Any] | None:
    """Decode with Pillow; None if the pixels are to come from OpenCV.

    OpenCV passes over errors in TIFF files, Pillow cuts some of their values down to 8 bits: both are needed.
    """
    if kind not in ("GIF", "JPEG 2000", "TIFF") and not _only_pillow(kind):
        return None
    image.load()
    grey = image.mode[0] in "IF"
    if kind == "TIFF" and not grey and (deep or image.mode not in ("L", "RGB")):
        return None
    values = pillow_values(PIL.ImageOps.exif_transpose(image))
    return values[..., None].repeat(3, axis=2) if grey else values


def pillow_values(image: PIL.Image.Image) -> NDArray[Any]:
    """Return the values of a Pillow image: (H, W) of modes with more than 8 bits, otherwise (H, W, 3) uint8 RGB."""
    return np.array(image if image.mode[0] in "IF" else image.convert("RGB"))


@cache
def _only_pillow(kind: str) -> bool:
    """Return whether the OpenCV at hand does not decode AVIF; where it does, it notices damage that Pillow does not."""
    return kind == "AVIF" and re.search(r"^\s*AVIF: +(?!NO)\S", cv2.getBuildInformation(), re.MULTILINE) is None


def _by_opencv(data: bytes, name: str, deep: bool) -> NDArray[Any]:
    """Decode with OpenCV: 8 bits, or the values that the file stores."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if deep else cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # such as more pixels than OpenCV reads
        raise InputError(f"{name}: cannot be decoded ({error.err}); make it smaller, or copy it again") from error
    if image is None:
        if image_format(data) == "PNG":
            png.check_sums(data, name)
        if not image_format(data) and Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"{name}: not an image in a format that is read here ({', '.join(IMAGE_SUFFIXES)})")
        raise InputError(f"{name}: not a readable image ({len(data)} bytes); copy it again from the original archive")
    return np.ascontiguousarray(image[..., ::-1]) if deep else np.asarray(image)


def _warn_of_frames(header: Header, name: str) -> None:
    if header.frames > 1:
        warn_once(logger, f"{name}: holds {header.frames} frames, of which the first alone is read; save it as a video")


def _warn_of_zeros(data: bytes, name: str) -> None:
    """Warn of a file that ends as an interrupted copy does, whose place on disk was taken in advance."""
    if data[-_FEWEST:].strip(b"\0"):
        return
    zeros = len(data) - len(data.rstrip(b"\0"))
    if zeros >= max(_FEWEST, _ZEROS * len(data)):
        warn_once(
            logger,
            f"{name}: its last {zeros} of {len(data)} bytes are zero; if it should not be black there, copy it again",
        )


def decoder_message(error: Exception) -> str:
    """Return the message of an exception, or its class name if the message is empty."""
    return str(error) or type(error).__name__
