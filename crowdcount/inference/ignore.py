"""Predictions without what lies under the marked pixels of a mask."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from crowdcount.block_shares import Edges, Shares, density_edges, mask_shares
from crowdcount.images.mask import IgnoreMask

if TYPE_CHECKING:
    from crowdcount.inference.points import PointPrediction
    from crowdcount.inference.prediction import Prediction

_ROUNDING: Final = 1e-9
"""Share of a block below which it is none: edges that cut through pixels are summed with rounding."""


def without_ignored(prediction: "Prediction", mask: IgnoreMask, height: int, width: int) -> "Prediction":
    """Return a prediction of an image without the people under a mask.

    A block that the mask covers in part keeps the share of its people, variance and size difference that the rest of
    its area has, as zones share out a block; a block that it covers wholly has exactly 0. The network has seen these
    pixels, so that people beside them are counted as without a mask.

    Args:
        prediction: of the image, at any network input size.
        mask: of the size of the image.
        height: height of the image in pixels.
        width: its width.

    Raises:
        InputError: the mask has another size.
    """
    mask.check(height, width)
    seen = prediction.height, prediction.width
    edges = density_edges(prediction.density.shape, prediction.stride, seen, (height, width))
    kept = 1 - _shares(mask.pixels, *edges)
    density = (prediction.density * kept).astype(np.float32)
    return replace(
        prediction,
        count=float(density.sum(dtype=np.float64)),
        density=density,
        variance=_scaled(prediction.variance, kept),
        size_difference=_scaled(prediction.size_difference, kept),
        ignored=mask,
    )


def _scaled(blocks: NDArray[np.float32] | None, kept: Shares) -> NDArray[np.float32] | None:
    return None if blocks is None else (blocks * kept).astype(np.float32)


def _shares(pixels: NDArray[np.bool_], ys: Edges, xs: Edges) -> Shares:
    """Return the share of each block that marked pixels (height, width) cover, exactly 0 and 1 up to rounding."""
    shares = mask_shares(pixels, ys, xs)
    shares[shares < _ROUNDING] = 0
    shares[shares > 1 - _ROUNDING] = 1
    return shares


def without_ignored_points(
    prediction: "PointPrediction", mask: IgnoreMask, height: int, width: int
) -> "PointPrediction":
    """Return a prediction of an image without its points on marked pixels.

    Args:
        prediction: of the image, at any network input size.
        mask: of the size of the image.
        height: height of the image in pixels.
        width: its width.

    Raises:
        InputError: the mask has another size.
    """
    mask.check(height, width)
    kept = ~mask.covers(prediction.points_in(height, width), height, width)
    return replace(
        prediction,
        points=prediction.points[kept],
        sizes=prediction.sizes[kept],
        scores=prediction.scores[kept],
        ignored=mask,
    )
