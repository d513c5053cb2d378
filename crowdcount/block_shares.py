"""Exact share of each block of a density map that lies in a region of the image, without sampling.

Blocks are given by their edges in pixels of the image: (rows + 1,) from top to bottom and (columns + 1,) from left
to right; the first edge is 0, the last the side of the image. The shares of regions that partition the image add up
to 1 in every block, up to rounding.
"""

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""(rows, columns), from 0 for a block outside the region to 1 for one inside."""

Edges = NDArray[np.float64]
"""(blocks + 1,) in pixels of the image."""


def density_edges(
    shape: tuple[int, ...], stride: int, seen: tuple[int, int], size: tuple[int, int]
) -> tuple[Edges, Edges]:
    """Return the edges of the blocks of a density, from top to bottom and from left to right.

    Args:
        shape: rows and columns of the density.
        stride: side of a block in pixels of the image as the network saw it.
        seen: height and width of that image. The last blocks are cut there: their people stand in the visible part.
        size: height and width of the original image.

    Returns:
        (rows + 1,) and (columns + 1,) in pixels of the original image.
    """
    ys, xs = (
        np.minimum(np.arange(blocks + 1) * stride, inner) * float(side) / inner
        for blocks, inner, side in zip(shape, seen, size, strict=True)
    )
    return ys, xs


def mask_shares(mask: NDArray[np.bool_] | Shares, ys: Edges, xs: Edges) -> Shares:
    """Return the share of each block that a mask covers, exact even where block edges cut through pixels.

    Args:
        mask: (height, width), true inside; or the covered share of each pixel.
        ys: (rows + 1,) edges of the blocks from top to bottom.
        xs: (columns + 1,) edges of the blocks from left to right.
    """
    covered = _between(_between(mask, ys).T, xs).T
    return np.clip(covered / np.outer(np.diff(ys), np.diff(xs)), 0, 1)


def _between(values: NDArray[np.bool_] | NDArray[np.float64], edges: Edges) -> NDArray[np.float64]:
    """Integrate (pixels, n) values along their first axis from each edge to the next, to (edges - 1, n).

    The values are constant within a pixel, so their integral is linear between whole pixels.
    """
    sums = np.zeros((len(values) + 1, values.shape[1]), np.int32 if values.dtype == bool else np.float64)
    np.cumsum(values, axis=0, out=sums[1:])
    pixel = np.minimum(edges.astype(np.int64), len(values) - 1)
    to_edge: NDArray[np.float64] = sums[pixel] + (edges - pixel)[:, None] * values[pixel]
    return np.diff(to_edge, axis=0)
