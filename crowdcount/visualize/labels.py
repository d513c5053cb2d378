"""Labels for regions of an image: placed inside the region where possible, without overlap, on a dark background."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from crowdcount.images.read import Image
from crowdcount.visualize.text import Colour, text_size, text_width, write

_PAPER: Final = 25
_OPACITY: Final = 0.85
_COARSE: Final = 500
"""Longer side in pixels of the grid on which label positions are searched."""


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""


@dataclass(frozen=True)
class Label:
    """A line of text on an image.

    Attributes:
        words: the text.
        spot: x, y of its preferred centre in pixels.
        box: bounding box of the region; if the text does not fit inside, it is placed beside it.
        colour: of the bar at its left.
    """

    words: str
    spot: tuple[float, float]
    box: Box
    colour: Colour


def roomy_spot(region: NDArray[np.uint8]) -> tuple[float, float]:
    """Return x, y of a pixel far from the edge of a region, near the centre of its widest part.

    Args:
        region: (H, W), nonzero inside; if all zero, any pixel may be returned.
    """
    step = -(-max(region.shape) // _COARSE)
    # Dilated to keep parts thinner than a step; padded because the edge of the image is also an edge of the region.
    coarse = np.pad(cv2.dilate(region, np.ones((step, step), np.uint8))[::step, ::step], 1)
    room = np.asarray(cv2.distanceTransform(coarse, cv2.DIST_L2, 5))
    parts = np.asarray(cv2.connectedComponents(coarse)[1])
    part = parts == parts.flat[room.argmax()]
    places = np.argwhere(part & (room >= 0.85 * room.max()))
    middle = np.argwhere(part).mean(axis=0)
    y, x = (places[np.square(places - middle).sum(axis=1).argmin()] - 0.5) * step
    return float(x), float(y)


def write_labels(image: Image, labels: Sequence[Label]) -> None:
    """Write labels on an image, in place; a label that would overlap another moves up or down if there is room.

    Args:
        image: (H, W, 3).
        labels: in order of priority; earlier ones keep their positions.
    """
    text = text_size(*image.shape[:2])
    taken: list[Box] = []
    for label in labels:
        sign = _sign(label, text, image)
        boxes = _places(label, sign, image)
        free = (box for box in boxes if not any(_overlap(box, other) for other in taken))
        left, top, right, bottom = box = next(free, boxes[0])
        taken.append(box)
        part = image[top:bottom, left:right]
        part[:] = cv2.addWeighted(part, 1 - _OPACITY, sign, _OPACITY, 0)


def _places(label: Label, sign: Image, image: Image) -> list[Box]:
    """List the candidate boxes of a label: centred on its spot first, then above and below, nearest first."""
    (high, wide), (height, width) = sign.shape[:2], image.shape[:2]
    left = min(max(0, round(label.spot[0] - wide / 2)), width - wide)
    first = round(label.spot[1] - high / 2)
    gap = high // 4
    if label.box[3] - label.box[1] < 1.5 * high and label.box[2] - label.box[0] < wide:
        first = label.box[3] + gap if label.box[3] + gap + high <= height else label.box[1] - gap - high
    first = min(max(0, first), height - high)
    step = high + gap
    tops = sorted(range(first % step, height - high + 1, step), key=lambda top: abs(top - first))
    return [(left, top, left + wide, top + high) for top in tops]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _sign(label: Label, text: int, image: Image) -> Image:
    """Render white text on a dark background beside a coloured bar, shrunk to fit the image."""
    edge, bar = text // 2 + 1, max(2, text // 3)
    sign = np.full((2 * text, bar + text_width(label.words, text) + 2 * edge, 3), _PAPER, np.uint8)
    sign[:, :bar] = label.colour
    write(sign, label.words, bar + edge, text, text, (255, 255, 255))
    shrink = min(1.0, image.shape[0] / sign.shape[0], image.shape[1] / sign.shape[1])
    size = (max(1, int(shrink * sign.shape[1])), max(1, int(shrink * sign.shape[0])))
    return np.asarray(cv2.resize(sign, size, interpolation=cv2.INTER_AREA), np.uint8)
