"""Area of the blocks of a density map on the ground.

A homography keeps lines straight, so a block is a quadrilateral at the height of heads, and its area there is exact:
half the cross product of its diagonals. Neighbours share corners, so the areas of blocks add up to the area of what
they cover together. Blocks that reach beyond the horizon, or where the errors exceed the limits, have none.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crowdcount.block_shares import density_edges
from crowdcount.errors import InputError
from crowdcount.ground.camera import Camera
from crowdcount.ground.homography import Floats

if TYPE_CHECKING:  # the ground needs no torch
    from crowdcount.inference.prediction import Prediction


@dataclass(frozen=True, eq=False)
class GroundBlocks:
    """The blocks of a density map on the ground.

    Attributes:
        camera: that sees them.
        ys: (rows + 1,) edges of the blocks from top to bottom, in pixels of the camera.
        xs: (columns + 1,) edges from left to right.
    """

    camera: Camera
    ys: Floats
    xs: Floats

    @cached_property
    def corners(self) -> Floats:
        """(rows + 1, columns + 1, 2) corners in metres; NaN beyond the horizon."""
        return self.camera.to_metres(_grid(self.ys, self.xs))

    @cached_property
    def seen(self) -> Floats:
        """(rows, columns) square metres of each block; NaN for those that reach beyond the horizon."""
        corners = self.corners
        down, up = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
        return np.abs(down[..., 0] * up[..., 1] - down[..., 1] * up[..., 0]) / 2

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """(rows, columns) whether a block is on the ground with errors within the limits, judged by its centre."""
        centres = _grid((self.ys[1:] + self.ys[:-1]) / 2, (self.xs[1:] + self.xs[:-1]) / 2)
        return self.camera.measurable(centres) & np.isfinite(self.seen)

    @cached_property
    def areas(self) -> Floats:
        """(rows, columns) square metres of each block; NaN for those that are not measured."""
        return np.where(self.measured, self.seen, np.nan)

    @cached_property
    def image_shares(self) -> Floats:
        """(rows, columns) share of each block of the image."""
        pixels = np.outer(np.diff(self.ys), np.diff(self.xs))
        shares: Floats = pixels / pixels.sum()
        return shares


def ground_blocks(camera: Camera, prediction: "Prediction", height: int, width: int) -> GroundBlocks:
    """Return the blocks of a prediction on the ground.

    Args:
        camera: of the image, which may have been resized since as a whole.
        prediction: of a density model for the image, at any network input size.
        height: height of the image in pixels.
        width: its width.

    Raises:
        InputError: the image has another aspect ratio than those of the camera.
    """
    own_width, own_height = camera.pose.size
    if abs(width * own_height - height * own_width) > max(own_width, own_height):  # a pixel of rounding
        raise InputError(
            f"camera: is calibrated for images of {own_width} x {own_height} pixels, and this one has {width} x "
            f"{height}; give an image of this camera, neither cropped nor turned"
        )
    seen = prediction.height, prediction.width
    edges = density_edges(prediction.density.shape, prediction.stride, seen, (own_height, own_width))
    return GroundBlocks(camera, *edges)


def _grid(ys: Floats, xs: Floats) -> Floats:
    return np.stack(np.meshgrid(xs, ys), axis=-1)
