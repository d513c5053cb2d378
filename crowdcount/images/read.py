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
"""File name suffixes of images, in lower case."""


def image_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files of a folder sorted by name, without hidden files and without subfolders."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    return sorted(path for path in files if path.is_file())


def read_image(path: Path | str) -> Image:
    """Decode an image file to upright RGB uint8: the EXIF rotation is applied, as annotation tools do.

    Raises:
        InputError: if the file is missing or cannot be decoded.
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
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"{path}: not an image in a format that is read here ({', '.join(IMAGE_SUFFIXES)})")
        raise InputError(f"{path}: not a readable image ({data.size} bytes); copy it again from the original archive")
    return image.astype(np.uint8, copy=False)
