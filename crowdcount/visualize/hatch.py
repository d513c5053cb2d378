"""Hatching of the part of an image that is left out."""

from math import sqrt
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.images.read import Image

_GREY: Final = 128
_VEIL: Final = 0.6
"""Share of grey in the hatched part; a third more on its lines."""


def hatch(image: Image, mask: NDArray[np.bool_]) -> Image:
    """Grey and hatch the marked pixels of an image with diagonal lines.

    Args:
        image: (H, W, 3), RGB, or a drawing of it at another size.
        mask: (height, width), true where the image is left out; resized to the drawing.

    Returns:
        (H, W, 3), a copy.
    """
    height, width = image.shape[:2]
    marked = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    step = max(6, round(0.02 * sqrt(height * width)))
    rows, columns = np.ogrid[:height, :width]
    line = (rows + columns) % step < max(1, step // 6)
    share = np.where(line, _VEIL + (1 - _VEIL) / 3, _VEIL)[marked][:, None]
    grey = np.where(line, 255, _GREY)[marked][:, None]
    drawn = image.copy()
    mixed: NDArray[np.float64] = image[marked] * (1 - share) + grey * share
    drawn[marked] = np.rint(mixed).astype(np.uint8)
    return drawn
