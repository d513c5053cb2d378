"""Reading image files."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""File name suffixes that are taken for images in a user's folder, in lower case."""


def pictures_in(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the pictures in a folder, neither hidden ones nor those in its subfolders, in the order of their names."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(path for path in files if path.is_file())


def read_image(path: Path | str) -> Image:
    """Decode an image file to RGB uint8, upright: an EXIF rotation is applied, as annotation tools do.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image")
    data = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except cv2.error as error:  # such as more pixels than OpenCV reads
        raise InputError(f"{path}: cannot be decoded ({error.err}); make it smaller, or copy it again") from error
    if image is None:
        raise InputError(f"{path}: not a readable image ({data.size} bytes); copy it again from the original archive")
    return image.astype(np.uint8, copy=False)
