"""Grid average mean absolute error (GAME)."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crowdcount.geometry import Points

GAME_LEVELS: Final = (0, 1, 2, 3)


def game(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return the error of one image, summed over the cells of a grid: one term of GAME.

    GAME(L) is the mean over the images with grids of 2^L by 2^L cells (Guerrero-Gomez-Olmedo et al., "Extremely
    Overlapping Vehicle Counting", IbPRIA 2015); GAME(0) is the MAE.

    Args:
        true: people in every cell.
        predicted: predicted people in every cell.
    """
    return float(np.abs(np.asarray(predicted, np.float64) - np.asarray(true, np.float64)).sum())


def point_cells(points: Points, width: int, height: int, level: int) -> NDArray[np.int64]:
    """Count points in the cells of GAME.

    The 2^L cells along a side have equal, possibly fractional width; a point on the border of two cells belongs to the
    right or lower one. A point outside the image belongs to the nearest cell, so that the sum is the true count.

    Returns:
        (2^L, 2^L).
    """
    n = 2**level
    places = np.floor(points.astype(np.float64) * n / (width, height))
    column, row = places.clip(0, n - 1).astype(np.int64).T
    return np.bincount(row * n + column, minlength=n * n).reshape(n, n)


def density_cells(
    density: NDArray[np.floating[Any]], stride: int, width: int, height: int, level: int
) -> NDArray[np.float64]:
    """Sum a density over the cells of GAME; a block across a border is shared in proportion to its overlaps.

    Args:
        density: (rows, columns) people per block; a last block that extends beyond the image has its people in the
            part inside.
        stride: block side in pixels.
        width: image width in pixels.
        height: image height in pixels.
        level: level L.

    Returns:
        (2^L, 2^L); its sum is that of the density.
    """
    rows, columns = density.shape
    down, across = _shares(height, stride, rows, 2**level), _shares(width, stride, columns, 2**level)
    return np.asarray(down @ density.astype(np.float64) @ across.T)


def _shares(length: int, stride: int, blocks: int, cells: int) -> NDArray[np.float64]:
    """Return (cells, blocks) shares of each block along an axis that lie in each cell."""
    start = np.arange(blocks) * stride
    end = np.minimum(start + stride, length)
    edges = np.arange(cells + 1)[:, None] * length / cells
    overlap = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    shares: NDArray[np.float64] = overlap.clip(0) / (end - start)
    return shares
