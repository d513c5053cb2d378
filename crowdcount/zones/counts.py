"""Number of people in each named region of an image.

Zones are given in pixels of the upright image: pixel i covers [i, i + 1). The network
may have seen it at another size. A block of the density that a boundary crosses gives each side its share of the area,
so that the counts of zones that partition the image add up to the whole count.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crowdcount.errors import InputError
from crowdcount.geometry import Points
from crowdcount.zones.zone import Zone

if TYPE_CHECKING:  # zones need no torch
    from crowdcount.inference.prediction import Prediction


def zone_counts(prediction: "Prediction", zones: Sequence[Zone], height: int, width: int) -> dict[str, float]:
    """Return the number of people in each zone by name; overlapping zones are counted independently.

    Args:
        prediction: prediction of a density model for the image, at any network input size.
        zones: with different names.
        height: height of the image in pixels.
        width: its width.

    Raises:
        InputError: two zones have one name, or see `Zone.coverage`.
    """
    _check_names(zones)
    density = prediction.density.astype(np.float64)
    return {zone.name: float((density * zone.coverage(prediction, height, width)).sum()) for zone in zones}


def zone_variances(prediction: "Prediction", zones: Sequence[Zone], height: int, width: int) -> dict[str, float | None]:
    """Return the sum of the variances of the blocks in each zone by name, a crossed block by its share of the area.

    It is a scale of the error of a zone's count, not its variance. None where the network predicts no distribution.

    Args:
        prediction: see `zone_counts`.
        zones: see `zone_counts`.
        height: see `zone_counts`.
        width: see `zone_counts`.

    Raises:
        InputError: see `zone_counts`.
    """
    if prediction.variance is None:
        return {zone.name: None for zone in zones}
    variance = prediction.variance.astype(np.float64)
    return {zone.name: float((variance * zone.coverage(prediction, height, width)).sum()) for zone in zones}


def point_counts(points: Points, zones: Sequence[Zone], height: int, width: int) -> dict[str, int]:
    """Return the number of points in each zone by name; see `Zone.holds` for points on an edge.

    Args:
        points: (N, 2) in pixels of the image, such as `PointPrediction.resized(height, width).points`.
        zones: with different names.
        height: height of the image in pixels.
        width: its width.

    Raises:
        InputError: two zones have one name, or see `Zone.holds`.
    """
    _check_names(zones)
    return {zone.name: int(np.count_nonzero(zone.holds(points, height, width))) for zone in zones}


def _check_names(zones: Sequence[Zone]) -> None:
    repeated = [name for name, times in Counter(zone.name for zone in zones).items() if times > 1]
    if repeated:
        raise InputError(f"zone {repeated[0]!r}: is given twice; rename one, or join their areas")
