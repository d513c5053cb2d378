"""Counts on a metric grid, and the densest patch of the ground.

A mean over a whole place hides its dense spots. A density map of the image is therefore resampled to square cells of
the ground, which conserves the count, and a patch of 3 x 3 m is moved over it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_array

from crowdcount.ground.area import GroundBlocks
from crowdcount.ground.homography import Floats

SIDE: Final = 3.0
"""Side in metres of the moving patch of 9 square metres."""

STEPS: Final = 6
"""Cells along the side of a patch."""

LEAST_COVER: Final = 0.75
"""Share of a patch that must be measured ground; the density is that of the measured part."""

_MOST_CELLS: Final = 4_000_000


class Patch(NamedTuple):
    """A square patch of the ground.

    Attributes:
        density: people per square metre of its measured part.
        centre: x, y in metres.
    """

    density: float
    centre: tuple[float, float]


@dataclass(frozen=True, eq=False)
class MetricGrid:
    """Square cells of the ground under the measured blocks of a density map.

    People are spread evenly over the ground of their block: a cell gets of each block the share of the block's area
    that is inside the cell. The shares of a block add up to 1.

    Attributes:
        blocks: the blocks.
        side: side of the moving patch in metres; a cell is a sixth of it.
    """

    blocks: GroundBlocks
    side: float = SIDE

    @property
    def cell(self) -> float:
        """Side of a cell in metres."""
        return self.side / STEPS

    @cached_property
    def origin(self) -> Floats:
        """(2,) x, y in metres of the corner of the first cell."""
        return self._extent[0]

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of cells along y and x; (0, 0) where nothing is measured, or it is too large for a grid."""
        low, high = self._extent
        columns, rows = np.maximum(np.ceil((high - low) / self.cell), 0).astype(int).tolist()
        return (rows, columns) if rows * columns <= _MOST_CELLS else (0, 0)

    @cached_property
    def _extent(self) -> tuple[Floats, Floats]:
        quads = self._quads
        if not len(quads):
            return np.zeros(2), np.zeros(2)
        return np.floor(quads.min(axis=(0, 1)) / self.cell) * self.cell, quads.max(axis=(0, 1))

    @cached_property
    def _quads(self) -> Floats:
        """(N, 4, 2) corners of the measured blocks in metres."""
        corners = self.blocks.corners
        around = (corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1])
        quads: Floats = np.stack(around, axis=2)[self.blocks.measured]
        return quads

    @cached_property
    def shares(self) -> "csr_array[np.float64, tuple[int, int]]":
        """(cells, measured blocks) share of each block in each cell."""
        rows, columns = self.shape
        quads = self._quads if rows else np.zeros((0, 4, 2))
        cells, owners = _cells_of_boxes(
            (quads.min(axis=1) - self.origin) / self.cell, (quads.max(axis=1) - self.origin) / self.cell
        )
        shares = np.ones(len(owners))
        split = np.bincount(owners, minlength=len(quads))[owners] > 1
        low = self.origin + cells[split] * self.cell
        shapes = np.asarray(shapely.polygons(quads))
        boxes = shapely.box(low[:, 0], low[:, 1], low[:, 0] + self.cell, low[:, 1] + self.cell)
        shares[split] = shapely.area(shapely.intersection(shapes[owners[split]], boxes))
        shares /= np.bincount(owners, shares, len(quads))[owners]
        at = np.minimum(cells[:, 1], rows - 1) * columns + np.minimum(cells[:, 0], columns - 1)
        return csr_array((shares, (at, owners)), shape=(rows * columns, len(quads)))

    def resample(self, values: Floats) -> Floats:
        """Return the sums of the cells (rows, columns) of block values (rows, columns); the total stays the same.

        Args:
            values: such as people per block; those of blocks that are not measured are left out.
        """
        return np.asarray(self.shares @ values[self.blocks.measured]).reshape(self.shape)

    def local_density(self, people: Floats, ground: Floats) -> Floats:
        """Return people per square metre of the patch around each corner of cells: (rows + 1, columns + 1).

        NaN where less than three quarters of the patch are measured ground.

        Args:
            people: (rows, columns) people of each block that count, such as those in a zone.
            ground: (rows, columns) square metres of each block that count.
        """
        if not self.shape[0]:
            return np.full((1, 1), np.nan)
        counted, covered = (_patch_sums(self.resample(values)) for values in (people, ground))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(covered >= LEAST_COVER * self.side**2, counted / covered, np.nan)

    def densest(self, people: Floats, ground: Floats) -> Patch | None:
        """Return the densest patch; None where none is measured well enough. See `local_density`."""
        density = self.local_density(people, ground)
        if not np.isfinite(density).any():
            return None
        row, column = np.unravel_index(int(np.nanargmax(density)), density.shape)
        x, y = self.origin + np.array([column, row]) * self.cell
        return Patch(float(density[row, column]), (float(x), float(y)))


def _patch_sums(cells: Floats) -> Floats:
    """Return the sum over the patch around each corner of cells (rows, columns): (rows + 1, columns + 1)."""
    padded = np.pad(cells, ((0, 1), (0, 1)))
    sums: Floats = uniform_filter(padded, STEPS, mode="constant") * STEPS**2
    return np.maximum(sums, 0)


def _cells_of_boxes(low: Floats, high: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells (M, 2) column and row that boxes overlap, and the number (M,) of the box of each.

    Args:
        low: (N, 2) corners of the boxes in cells.
        high: (N, 2) opposite corners.
    """
    first, last = (
        np.floor(low).astype(np.int64),
        np.maximum(np.ceil(high).astype(np.int64) - 1, np.floor(low).astype(np.int64)),
    )
    wide, tall = (last - first + 1).T
    owners = np.repeat(np.arange(len(low)), wide * tall)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    return first[owners] + np.stack([place % wide[owners], place // wide[owners]], axis=1), owners
