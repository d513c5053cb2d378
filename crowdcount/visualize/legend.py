"""Legends: named colours under an image."""

from collections.abc import Sequence

import numpy as np

from crowdcount.images.read import Image
from crowdcount.visualize.captions import as_rgb
from crowdcount.visualize.text import INK, PAPER, Colour, text_size, text_width, write


def legend(image: Image, entries: Sequence[tuple[str, Colour]]) -> Image:
    """Put names with patches of their colours under an image, in as many rows as they need.

    Args:
        image: (H, W, 3), or grey (H, W).
        entries: name and colour of each, from left to right.

    Returns:
        (H + legend, W, 3); wider than the image where a name does not fit.
    """
    image = as_rgb(image)
    text = text_size(*image.shape[:2])
    sizes = [text_width(name, text) + 4 * text for name, _ in entries]
    width = max(image.shape[1], *sizes)
    places = _places(sizes, width)
    rows = 1 + max(row for row, _ in places)
    paper = np.full(((2 * rows + 1) * text, width, 3), PAPER, np.uint8)
    for (name, colour), (row, left) in zip(entries, places, strict=True):
        top = text // 2 + 2 * row * text
        paper[top : top + 3 * text // 2, left + text : left + 2 * text + text // 2] = INK
        paper[top + 1 : top + 3 * text // 2 - 1, left + text + 1 : left + 2 * text + text // 2 - 1] = colour
        write(paper, name, left + 3 * text, top + 3 * text // 4, text)
    blank = ((0, 0), (0, width - image.shape[1]), (0, 0))
    return np.vstack([np.pad(image, blank, constant_values=PAPER), paper])


def _places(sizes: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Return the row and the left edge of each entry of a size in pixels."""
    places, row, left = [], 0, 0
    for size in sizes:
        if left and left + size > width:
            row, left = row + 1, 0
        places.append((row, left))
        left += size
    return places
