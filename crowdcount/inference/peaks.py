"""Points of a density model: the local maxima of its density."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crowdcount.geometry import Points, as_points

if TYPE_CHECKING:
    from crowdcount.inference.prediction import Prediction


def density_peaks(prediction: "Prediction", threshold: float = 0.0) -> Points:
    """Return the strongest local maxima of a density, at most round(count) of them.

    A block is a maximum if it has more people than `threshold` and than each of its eight neighbours; of equal
    neighbours only the first in reading order is one. Along each axis, the point is placed at the vertex of a parabola
    through the block and its two neighbours; the density is 0 beyond its edges. A maximum gives one point however many
    people its block holds, so dense crowds and wide strides give fewer points than people.

    Args:
        prediction: a density with its frame.
        threshold: people per block that a maximum must exceed.

    Returns:
        (K, 2) inside the image, in pixels of the network's input, strongest first.
    """
    values = prediction.density.astype(np.float64)
    row, column = np.nonzero(_is_maximum(values) & (values > threshold))
    order = np.argsort(-values[row, column], kind="stable")[: max(0, round(prediction.count))]
    row, column = row[order], column[order]
    padded = np.pad(values, 1)
    here = values[row, column]
    x = column + 0.5 + _top(padded[row + 1, column], here, padded[row + 1, column + 2])
    y = row + 0.5 + _top(padded[row, column + 1], here, padded[row + 2, column + 1])
    points = as_points(np.stack([x, y], axis=1) * prediction.stride)
    # the last blocks may extend beyond the image
    size = np.array([prediction.width, prediction.height], np.float32)
    return np.minimum(points, np.nextafter(size, np.float32(0)))


def _is_maximum(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    padded = np.pad(values, 1, constant_values=-np.inf)
    rows, columns = values.shape
    result = np.ones(values.shape, np.bool_)
    for place in range(9):
        down, right = divmod(place, 3)
        neighbour = padded[down : down + rows, right : right + columns]
        result &= values > neighbour if place < 4 else values >= neighbour
    return result


def _top(before: NDArray[np.float64], here: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertex of the parabola through three values, in blocks from the centre of the middle one."""
    bend = before - 2 * here + after
    top: NDArray[np.float64] = np.divide(before - after, 2 * bend, out=np.zeros_like(here), where=bend < 0)
    return top.clip(-0.499, 0.499)
