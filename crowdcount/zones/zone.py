"""One region of interest of a photograph, and what of blocks and points lies in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside
from crowdcount.zones.coverage import Shares, block_edges, check_polygons, mask_shares, polygon_shares

if TYPE_CHECKING:  # drawing zones needs no torch
    from crowdcount.inference.density import Prediction

_RIGHT: Final = 2.0**-16
_DOWN: Final = 2.0**-36
"""Distance in pixels by which a point is moved off an edge it may be on, whatever the edge's slope."""


@dataclass(frozen=True, eq=False)  # arrays have no one answer to whether they are equal
class Zone:
    """A named region of a photograph.

    Attributes:
        name: not empty; what its count is called.
        area: valid polygons with x to the right and y down, in several parts and with holes if need be; or a mask
            (height, width), true inside, of the size of the photograph. Either in pixels of the upright photograph.
            Polygons may reach beyond it; only what is inside counts.

    Raises:
        InputError: the name is empty, the polygons are not valid, or the mask is no array of two axes and truth values.
    """

    name: str
    area: Polygon | MultiPolygon | NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError(f"zone {self.name!r}: has an empty name; give it one to call its count by")
        if isinstance(self.area, np.ndarray):
            if self.area.ndim != 2 or self.area.dtype != bool:
                raise InputError(
                    f"zone {self.name!r}: its mask is {self.area.dtype} of shape {self.area.shape}, expected bool of "
                    "shape (height, width); give mask > 0"
                )
        else:
            check_polygons(f"zone {self.name!r}", self.area)

    def coverage(self, prediction: "Prediction", height: int, width: int) -> Shares:
        """Return the share of every block of a prediction that lies in the zone.

        Of a block that reaches beyond the image, only the part inside is looked at: there its people stand.

        Args:
            prediction: what the model says of the photograph, at whatever size the network saw it.
            height: height of the photograph in pixels.
            width: its width.

        Returns:
            (rows, columns) float64 in [0, 1], of the shape of the density.

        Raises:
            InputError: see `check`; or the blocks of the prediction do not cover the image it states.
        """
        self.check(height, width)
        sides = (prediction.height, prediction.width)
        if prediction.density.shape != tuple(-(-side // prediction.stride) for side in sides):
            raise InputError(
                f"a density of shape {prediction.density.shape} does not cover height and width {sides} with blocks of "
                f"{prediction.stride} pixels; give the prediction as the model returned it"
            )
        ys, xs = (
            block_edges(blocks, prediction.stride, seen, side)
            for blocks, seen, side in zip(prediction.density.shape, sides, (height, width), strict=True)
        )
        return (
            mask_shares(self.area, ys, xs) if isinstance(self.area, np.ndarray) else polygon_shares(self.area, ys, xs)
        )

    def holds(self, points: Points, height: int, width: int) -> NDArray[np.bool_]:
        """Return which points lie in the zone.

        Zones that share an edge never both hold a point: one on the edge, or less than 2^-16 pixel to the left of it,
        belongs to the zone at its right, and on a level edge to the zone below. This holds where both zones have the
        same corners along the edge; where a slanted edge meets a corner that it lacks itself, rounding opens a gap or
        an overlap of some 1e-12 pixels. In a mask, a point belongs to the pixel that covers it. Points outside the
        photograph belong to no zone.

        Args:
            points: (N, 2) in pixels of the photograph.
            height: height of the photograph in pixels.
            width: its width.

        Returns:
            (N,) bool.

        Raises:
            InputError: see `check`.
        """
        self.check(height, width)
        held = inside(points, width, height)
        x, y = points[held].astype(np.float64).T
        if isinstance(self.area, np.ndarray):
            held[held] = self.area[y.astype(np.int64), x.astype(np.int64)]
        else:
            shapely.prepare(self.area)
            x, y = np.minimum(x + _RIGHT, np.nextafter(width, 0)), np.minimum(y + _DOWN, np.nextafter(height, 0))
            held[held] = shapely.contains_xy(self.area, x, y)
        return held

    def check(self, height: int, width: int) -> None:
        """Refuse a photograph, of this size in pixels, that the zone is not drawn on.

        Raises:
            InputError: the mask is of another size, or nothing of the zone is inside the photograph.
        """
        if isinstance(self.area, np.ndarray):
            rows, columns = self.area.shape
            if (rows, columns) != (height, width):
                raise InputError(
                    f"zone {self.name!r}: its mask is {columns} x {rows} pixels and the photograph {width} x {height} "
                    "(width x height); paint the mask on this photograph, upright and at full size"
                )
            if not self.area.any():
                raise InputError(f"zone {self.name!r}: no pixel of its mask is inside; paint what shall be counted")
        elif not shapely.area(shapely.intersection(self.area, shapely.box(0, 0, width, height))):
            left, top, right, bottom = (f"{value:g}" for value in self.area.bounds)
            raise InputError(
                f"zone {self.name!r}: has no area inside the photograph of {width} x {height} pixels (width x height); "
                f"it reaches from {left}, {top} to {right}, {bottom}: draw it in pixels of this photograph, x first"
            )
