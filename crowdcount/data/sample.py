"""What a data set is: light records of images and points, split by split."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.geometry import Points

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Record:
    """One annotated image, not yet decoded.

    Attributes:
        name: unique within the split, for logs and tables.
        image: a file, or a picklable function that renders the image.
        points: (N, 2) as published, also those outside the image; None where the annotation is withheld.
    """

    name: str
    image: Path | Callable[[], Image]
    points: Points | None

    @property
    def count(self) -> int:
        """Number of annotated points: the ground truth of the papers."""
        return len(self.require_points())

    def require_points(self) -> Points:
        """Return the points.

        Raises:
            InputError: the annotation is not public.
        """
        if self.points is None:
            raise InputError(f"{self.name} has no public annotation, so its count is not known")
        return self.points

    def read(self) -> Image:
        """Decode the image.

        Raises:
            InputError: the file is missing or damaged.
        """
        return read_image(self.image) if isinstance(self.image, Path) else self.image()


class CrowdSource(ABC):
    """A data set: what its adapter promises. Adapters read annotations only, never pixels."""

    @abstractmethod
    def records(self, split: Split) -> list[Record]:
        """Return the records of an official split, in a fixed order; an empty list where it has no such split.

        Raises:
            InputError: a file is missing, damaged or without its partner.
        """


def read_image(path: Path | str) -> Image:
    """Decode an image file to RGB uint8, upright: an EXIF rotation is applied, as annotation tools do.

    Raises:
        InputError: the file is missing or cannot be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image")
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise InputError(f"{path}: not a readable image ({data.size} bytes); copy it again from the original archive")
    return image.astype(np.uint8, copy=False)
