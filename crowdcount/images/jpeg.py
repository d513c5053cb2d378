"""JPEG files: their header, and decoding that takes libjpeg's warnings for what they are.

libjpeg fills the rest of a damaged image with grey and only warns ("premature end of data segment", "bad Huffman
code", "extraneous bytes before marker"). Pillow drops these warnings and OpenCV prints them; libjpeg-turbo's own
interface, which `simplejpeg` wraps, reports them. Its pixels are those of OpenCV.
"""

import logging
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.images.header import Header
from crowdcount.images.warn_once import warn_once

logger = logging.getLogger(__name__)

_AGAIN: Final = "copy it again from where it came from"
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_START_OF_SCAN: Final = 0xDA
_END: Final = 0xD9
_BARE: Final = (0x01, *range(0xD0, 0xD9))  # markers without a length
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN: Final = range(0xC0, 0xC8)
_SEQUENTIAL: Final = (0xC0, 0xC1)
_PROGRESSIVE: Final = (0xC2, 0xC6, 0xCA, 0xCE)
_HARMLESS: Final = ("Invalid SOS parameters", "Warning: unknown JFIF revision", "Corrupt JPEG data: bad ICC marker")
"""First words of warnings about headers that some cameras write, and on which no pixel depends."""
_LIMITS: Final = ("Unsupported", "tjDecompressHeader")
"""First words of messages about files that simplejpeg does not know, rather than damaged ones."""


def read_header(data: bytes, name: str) -> Header:
    """Return the header of a JPEG file.

    Raises:
        InputError: if it ends or is damaged before the size.
    """
    orientation = 1
    for marker, start, end in _segments(data):
        if marker == _APP1 and data[start : start + 6] == b"Exif\0\0" and orientation == 1:
            orientation = _orientation(data[start:end])
        elif marker in _FRAMES and end - start >= 6:
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (start + 1, start + 3))
            # in a scan every block of 8 x 8 pixels has a code of one bit or more, unless it is coded arithmetically
            ratio = 512.0 if marker in _HUFFMAN else None
            # a progressive image is held as coefficients of 16 bits until its last scan
            return Header(width, height, 8, ratio, held=9 if marker in _PROGRESSIVE else 3, orientation=orientation)
    raise InputError(f"{name}: is damaged (its header has no size); {_AGAIN}")


def decode(data: bytes, header: Header, name: str) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) RGB of a JPEG file, upright.

    Raises:
        InputError: if anything is missing or damaged that libjpeg notices.
    """
    try:
        image = _decode_strictly(data)
    except ValueError as error:
        if not str(error).startswith(_LIMITS):
            raise InputError(f"{name}: is damaged ({error}); {_AGAIN}") from error
        return _decode_uncommon(data, name, str(error))
    return turn_upright(image, header.orientation)


def _decode_strictly(data: bytes) -> NDArray[np.uint8]:
    """Decode with libjpeg's warnings as errors, but for those about harmless headers.

    Raises:
        ValueError: the first warning or error of libjpeg.
    """
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if not str(error).startswith(_HARMLESS):
            raise
        # the first warning alone is reported: without its cause, damage behind it is found
        image = simplejpeg.decode_jpeg(_with_usual_headers(data), "RGB")
    return image


def _with_usual_headers(data: bytes) -> bytes:
    """Return a file with what the standard prescribes in headers that libjpeg reads, warns of and does not use."""
    usual, frame, left_out = bytearray(data), None, []
    for marker, start, end in _segments(data):
        frame = marker if marker in _FRAMES else frame
        if marker == _APP0 and data[start : start + 5] == b"JFIF\0":
            usual[start + 5 : start + 6] = b"\1"  # major version
        elif marker == _APP2:  # colour profiles
            left_out.append(slice(start - 4, end))
        elif marker == _START_OF_SCAN and frame in _SEQUENTIAL:
            usual[end - 3 : end] = b"\0\x3f\0"  # all coefficients, in one scan
    for segment in reversed(left_out):
        del usual[segment]
    return bytes(usual)


def _decode_uncommon(data: bytes, name: str, reason: str) -> NDArray[np.uint8]:
    """Decode what simplejpeg does not know, where only a missing end is noticed."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if _is_complete(data) else None
    if image is None:
        raise InputError(f"{name}: is damaged, or a kind of JPEG that is not read ({reason}); save it again as JPEG")
    warn_once(logger, f"{name}: an uncommon kind of JPEG ({reason}), in which damage may go unnoticed; look at it")
    return image.astype(np.uint8, copy=False)


def _is_complete(data: bytes) -> bool:
    """Return whether the end of the image follows its last scan."""
    return any(marker == _END for marker, _, _ in _segments(data))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker of an image with start and end of its content; the scans themselves are skipped."""
    position = 2
    while (position := data.find(b"\xff", position)) != -1 and position + 1 < len(data):
        marker, position = data[position + 1], position + 1
        if marker in (0, 0xFF, *_BARE):  # a byte of a scan, a filler, or a restart
            continue
        start = position + 3
        end = start if marker == _END else position + 1 + int.from_bytes(data[position + 1 : start], "big")
        yield marker, start, end
        if marker == _END:
            return
        position = max(end, start)


def _orientation(content: bytes) -> int:
    """Return the orientation in an Exif segment; 1, upright, where it holds none."""
    exif = PIL.Image.Exif()
    try:
        exif.load(content)
        value = exif.get(0x112, 1)
    except Exception:  # Pillow raises nearly anything for metadata that are damaged, and the pixels are not
        return 1
    return value if value in range(1, 9) else 1


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) rotated and mirrored as its EXIF orientation asks for."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
