"""Intervals of the counts of zones that hold together."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import shapely

from crowdcount.intervals.calibration import Interval, interval
from crowdcount.zones.counts import zone_counts, zone_variances
from crowdcount.zones.zone import Zone

if TYPE_CHECKING:  # zones need no torch
    from crowdcount.inference.prediction import Prediction


def hash_area(zone: Zone) -> str:
    """Return the SHA-256 of the area of a zone, regardless of its name."""
    if isinstance(zone.area, np.ndarray):
        area = str(zone.area.shape).encode() + zone.area.tobytes()
    else:
        area = shapely.to_wkb(shapely.normalize(zone.area))
    return hashlib.sha256(area).hexdigest()


def zone_intervals(
    prediction: "Prediction", zones: Sequence[Zone], height: int, width: int, level: float = 0.9
) -> dict[str, Interval]:
    """Return intervals of the counts of zones that hold together with a probability of at least `level`.

    The model must have been calibrated with these zones; the intervals of others are "uncalibrated". See
    `Prediction.interval` for what is guaranteed.

    Args:
        prediction: see `zone_counts`.
        zones: see `zone_counts`; some of those of the calibration, or all.
        height: see `zone_counts`.
        width: see `zone_counts`.
        level: wanted probability, between 0 and 1.

    Raises:
        InputError: see `zone_counts`; or the level is not between 0 and 1.
    """
    counts = zone_counts(prediction, zones, height, width)
    variances = zone_variances(prediction, zones, height, width)
    known = prediction.intervals
    found = {}
    for zone in zones:
        own = known is not None and known.areas.get(zone.name) == hash_area(zone)
        part = known.zones if known is not None and own else None
        found[zone.name] = interval(part, counts[zone.name], variances[zone.name], level)
    return found
