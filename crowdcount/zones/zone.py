"""A region of interest of an image, with the blocks and points inside it."""

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from crowdcount.block_shares import Shares, density_edges, mask_shares
from crowdcount.errors import InputError
from crowdcount.geometry import Points, inside
from crowdcount.images.mask import IgnoreMask
from crowdcount.images.warn_once import warn_once
from crowdcount.plausibility import Size, check_stated_size
from crowdcount.zones.coverage import check_polygons, polygon_shares

if TYPE_CHECKING:  # drawing zones needs no torch
    from crowdcount.inference.prediction import Prediction

logger = logging.getLogger(__name__)

_RIGHT: Final = 2.0**-16
_DOWN: Final = 2.0**-36
"""Distance in pixels by which a point is moved off an edge it may lie on, for any slope of the edge."""


@dataclass(frozen=True, eq=False)  # comparing arrays does not give a single truth value
class Zone:
    """A named region of an image.

    Attributes:
        name: name of its count, not empty.
        area: valid polygons, x to the right and y down, possibly in several parts and with holes; or a mask (height,
            width) of the size of the image, true inside. Both in pixels of the upright image. Polygons may extend
            beyond the image; only the part inside counts.
        drawn_on: width and height of the image that it was drawn on, according to its file; None if unknown.

    Raises:
        InputError: the name is empty, the polygons are not valid, or the mask is not a 2-D boolean array.
    """

    name: str
    area: Polygon | MultiPolygon | NDArray[np.bool_]
    drawn_on: Size | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError(f"zone {self.name!r}: has an empty name; give it one")
        if isinstance(self.area, np.ndarray):
            if self.area.ndim != 2 or self.area.dtype != bool:
                raise InputError(
                    f"zone {self.name!r}: its mask is {self.area.dtype} of shape {self.area.shape}, expected bool of "
                    "shape (height, width); give mask > 0"
                )
        else:
            check_polygons(f"zone {self.name!r}", self.area)

    def coverage(self, prediction: "Prediction", height: int, width: int) -> Shares:
        """Return the share of each block of a prediction that lies in the zone.

        A block that extends beyond the image is cut at its edge: its people stand in the part inside. Likewise the
        people of a block that is ignored in part stand in the rest of it, and the share is that of the rest.

        Args:
            prediction: prediction of a density model for the image, at any network input size.
            height: height of the image in pixels.
            width: its width.

        Returns:
            (rows, columns) float64 in [0, 1], of the shape of the density.

        Raises:
            InputError: see `check`; or the blocks of the prediction do not cover the image size it states.
        """
        self.check(height, width)
        sides = (prediction.height, prediction.width)
        if prediction.density.shape != tuple(-(-side // prediction.stride) for side in sides):
            raise InputError(
                f"a density of shape {prediction.density.shape} does not cover height and width {sides} with blocks of "
                f"{prediction.stride} pixels; give the prediction as the model returned it"
            )
        ys, xs = density_edges(prediction.density.shape, prediction.stride, sides, (height, width))
        if prediction.ignored is not None:
            prediction.ignored.check(height, width)
            return _shares_of_rest(self, prediction.ignored, tuple(ys), tuple(xs))
        if isinstance(self.area, np.ndarray):
            return mask_shares(self.area, ys, xs)
        return polygon_shares(self.area, ys, xs)

    def holds(self, points: Points, height: int, width: int) -> NDArray[np.bool_]:
        """Return whether each point lies in the zone.

        Zones that share an edge never both hold a point: a point on the edge, or less than 2^-16 pixel to the left of
        it, belongs to the zone on the right, or below if the edge is horizontal. This assumes that both zones have the
        same corners along the edge; otherwise rounding of a slanted edge leaves a gap or an overlap of about 1e-12
        pixels. In a mask, a point belongs to the pixel that covers it. Points outside the image belong to no zone.

        Args:
            points: (N, 2) in pixels of the image.
            height: height of the image in pixels.
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
        """Check that the zone fits an image of this size in pixels.

        A zone of which more than half is outside is named in a warning.

        Raises:
            InputError: the zone was drawn on an image of another size, the mask has another size, or no part of the
                zone is inside the image.
        """
        check_stated_size(f"zone {self.name!r}", self.drawn_on, (width, height), "the image")
        if isinstance(self.area, np.ndarray):
            rows, columns = self.area.shape
            if (rows, columns) != (height, width):
                raise InputError(
                    f"zone {self.name!r}: its mask is {columns} x {rows} pixels and the image {width} x {height} "
                    "(width x height); paint the mask on this image, upright and at full size"
                )
            if not self.area.any():
                raise InputError(f"zone {self.name!r}: no pixel of its mask is inside; paint the area to count in")
            return
        within = shapely.area(shapely.intersection(self.area, shapely.box(0, 0, width, height)))
        left, top, right, bottom = (f"{value:g}" for value in self.area.bounds)
        reach = f"the image of {width} x {height} pixels (width x height); it reaches from {left}, {top} to {right}, "
        reach += f"{bottom}: draw it in pixels of this image, x first"
        if not within:
            raise InputError(f"zone {self.name!r}: has no area inside {reach}")
        if within < shapely.area(self.area) / 2:
            warn_once(logger, f"zone {self.name!r}: more than half of it is outside {reach}, unless this is meant")


@lru_cache(maxsize=64)  # of the frames of a camera it is the same, and takes a second for a polygon
def _shares_of_rest(zone: Zone, ignored: IgnoreMask, ys: tuple[float, ...], xs: tuple[float, ...]) -> Shares:
    """Return the share of the part of each block that is not ignored; 0 where nothing is left."""
    height, width = ignored.pixels.shape
    edges = np.array(ys), np.array(xs)
    if isinstance(zone.area, np.ndarray):
        held = mask_shares(zone.area & ~ignored.pixels, *edges)
    else:
        pixels = polygon_shares(zone.area, np.arange(height + 1.0), np.arange(width + 1.0))
        held = mask_shares(pixels * ~ignored.pixels, *edges)
    rest = mask_shares(~ignored.pixels, *edges)
    shares: Shares = np.divide(held, rest, out=np.zeros_like(rest), where=rest > 0).clip(0, 1)
    shares.flags.writeable = False  # it is returned again
    return shares
