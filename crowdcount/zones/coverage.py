"""Exact share of each block of a density map that polygons cover, without sampling; see `crowdcount.block_shares`."""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from crowdcount.block_shares import Edges, Shares
from crowdcount.errors import InputError

_Tiles = NDArray[np.int64]
"""(N, 4) rectangles of blocks: first row, row after the last, first column, column after the last."""


def check_polygons(place: str, area: Polygon | MultiPolygon) -> None:
    """Check that polygons have a well-defined area.

    Raises:
        InputError: a ring crosses itself or another, or encloses nothing; the message starts with `place`.
    """
    if area.is_empty:
        raise InputError(f"{place}: its polygon is empty; draw it with at least 3 corners")
    if not area.is_valid:
        raise InputError(
            f"{place}: its outline is not valid ({shapely.is_valid_reason(area)}); draw it without crossing"
        )


def polygon_shares(area: Polygon | MultiPolygon, ys: Edges, xs: Edges) -> Shares:
    """Return the share of each block that polygons cover.

    Rectangles of blocks are quartered until they lie wholly inside or outside, so that single blocks are examined only
    along the boundary. The polygons are cut along with them, so that each block is compared with nearby corners only.

    Args:
        area: valid polygons in pixels of the image; they may extend beyond it.
        ys: (rows + 1,) edges of the blocks from top to bottom.
        xs: (columns + 1,) edges of the blocks from left to right.
    """
    whole = np.outer(np.diff(ys), np.diff(xs))
    covered = np.zeros_like(whole)
    shapely.prepare(area)
    tiles, pieces = np.array([[0, whole.shape[0], 0, whole.shape[1]]]), np.array([area], np.object_)
    while len(tiles):
        boxes = shapely.box(xs[tiles[:, 2]], ys[tiles[:, 0]], xs[tiles[:, 3]], ys[tiles[:, 1]])
        inside = shapely.contains_properly(area, boxes)
        for top, bottom, left, right in tiles[inside].tolist():
            covered[top:bottom, left:right] = whole[top:bottom, left:right]
        tiles, pieces = _cut(tiles[~inside], pieces[~inside], boxes[~inside])
        alone = (tiles[:, 1] - tiles[:, 0] == 1) & (tiles[:, 3] - tiles[:, 2] == 1)
        covered[tiles[alone, 0], tiles[alone, 2]] = shapely.area(pieces[alone])
        tiles, pieces = _quarters(tiles[~alone], pieces[~alone])
    return np.clip(covered / whole, 0, 1)


def _cut(tiles: _Tiles, pieces: NDArray[np.object_], boxes: NDArray[np.object_]) -> tuple[_Tiles, NDArray[np.object_]]:
    """Clip polygons to the boxes of the tiles, and drop the tiles they do not touch."""
    pieces = np.asarray(shapely.intersection(pieces, boxes), np.object_)
    some = shapely.area(pieces) > 0
    return tiles[some], pieces[some]


def _quarters(tiles: _Tiles, pieces: NDArray[np.object_]) -> tuple[_Tiles, NDArray[np.object_]]:
    """Halve tiles along both axes; the empty halves of tiles one block high or wide are dropped."""
    top, bottom, left, right = tiles.T
    row, column = (top + bottom) // 2, (left + right) // 2
    halves = [(rows, columns) for rows in ((top, row), (row, bottom)) for columns in ((left, column), (column, right))]
    quarters = np.concatenate([np.stack([*rows, *columns], axis=1) for rows, columns in halves])
    some = (quarters[:, 0] < quarters[:, 1]) & (quarters[:, 2] < quarters[:, 3])
    return quarters[some], np.tile(pieces, 4)[some]
