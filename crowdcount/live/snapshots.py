"""Blurred snapshots: what a scene looked like when a number was read, without anybody in it being recognised."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from crowdcount.checks import check_number
from crowdcount.files import atomic_write
from crowdcount.images.read import Image
from crowdcount.visualize.drawing_mark import drawing_bytes

if TYPE_CHECKING:  # inference imports torch
    from crowdcount.inference.prediction import Prediction

_CELLS: Final = 32
"""Cells along the longer side of a blurred image; a face over a quarter of it is 8 cells wide."""
_NAME: Final = re.compile(r"snapshot_.*_\d{8}T\d{9}Z\.png")


def blurred(image: Image) -> Image:
    """Return an image of the same size that holds nothing but the means of 32 cells along its longer side.

    Detail is lost for good, as it is averaged away before the image is enlarged.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    ratio = _CELLS / max(height, width)
    small = cv2.resize(
        image, (max(1, round(width * ratio)), max(1, round(height * ratio))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


class Snapshots:
    """A folder of the last snapshots, blurred and under their density.

    Args:
        folder: the folder; created if it is missing. Of the files in it, snapshots alone are ever deleted.
        most: number of snapshots that are kept; the oldest are deleted.

    Raises:
        InputError: `most` is below 1.
    """

    def __init__(self, folder: Path, most: int = 100) -> None:
        check_number("snapshots", most, 1)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._most = folder, most

    def save(self, source: str, time: float, image: Image, prediction: "Prediction") -> Path:
        """Save a snapshot, delete the oldest beyond the limit and return the file.

        Args:
            source: name of the source.
            time: seconds since 1970 in UTC.
            image: (H, W, 3) uint8 RGB.
            prediction: its prediction.

        Raises:
            OSError: it cannot be written.
        """
        stamp = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
        path = self._folder / f"snapshot_{re.sub('[^A-Za-z0-9-]+', '-', source)[:60]}_{stamp}Z.png"
        atomic_write(path, drawing_bytes(prediction.draw(blurred(image))))
        mine = [each for each in self._folder.iterdir() if _NAME.fullmatch(each.name)]
        for old in sorted(mine, key=lambda each: each.name.rpartition("_")[2])[: -self._most]:
            old.unlink(missing_ok=True)
        return path
