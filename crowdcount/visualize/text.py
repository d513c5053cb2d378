"""Letters of OpenCV's font by their height in pixels: all that write on pictures measure them the same way."""

from functools import cache
from typing import Final

import cv2
import numpy as np

FONT: Final = cv2.FONT_HERSHEY_SIMPLEX

LEAST_TEXT: Final = 9
"""Height of a digit in pixels that is still readable."""


def font_scale(text: float) -> float:
    """Return OpenCV's scale for digits of a height in pixels."""
    return text / _digit()


def thickness(text: float) -> int:
    """Return the width of a stroke in pixels for digits of a height in pixels."""
    return max(1, round(text / 10))


def text_width(line: str, text: float) -> int:
    """Return the width in pixels of a line whose digits have a height in pixels."""
    size, _ = cv2.getTextSize(line, FONT, font_scale(text), thickness(text))
    return int(size[0])


@cache
def _digit() -> int:
    """Measure a digit at scale 1: fonts differ between versions of cv2, and getTextSize adds a margin."""
    paper = np.zeros((80, 80), np.uint8)
    cv2.putText(paper, "0", (10, 60), FONT, 1.0, 255, 1, cv2.LINE_AA)
    return int(np.count_nonzero(paper.max(axis=1) > 100))
