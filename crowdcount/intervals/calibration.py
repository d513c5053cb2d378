"""Intervals and alarms from the scores of calibration images."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.intervals.conformal import Floats, conformal_quantile, conformal_rank
from crowdcount.intervals.scale import Scale

State = Literal["calibrated", "approximate", "uncalibrated", "too_few_images", "outside_range"]
"""State of an interval.

- calibrated: it holds for images that are exchangeable with those of the calibration.
- approximate: as calibrated, but its level is not guaranteed, see `Calibration.approximate`.
- uncalibrated: the model has no calibration for the way in which the image was counted.
- too_few_images: the calibration has too few images for this level, 19 for 95 % and 99 for 99 %.
- outside_range: the predicted count is below or above all those of the calibration.
"""


class Interval(NamedTuple):
    """An interval of the true count.

    Attributes:
        low: lower end, at least 0.
        high: upper end; infinity where nothing can be said.
        state: see `State`.
    """

    low: float
    high: float
    state: State


UNKNOWN: Final = Interval(0.0, math.inf, "uncalibrated")
"""The interval of a model without a calibration."""


@dataclass(frozen=True)
class Alarm:
    """An answer to "may there be more than `threshold` people?"; true if so.

    Attributes:
        raised: whether `upper` is above the threshold.
        upper: upper bound of the true count; infinity where nothing can be said, which raises the alarm.
        state: see `State`.
    """

    raised: bool
    upper: float
    state: State

    def __bool__(self) -> bool:
        """Return whether the alarm is raised."""
        return self.raised


@dataclass(frozen=True, eq=False)  # comparing arrays does not give a single truth value
class Calibration:
    """Scores of calibration images, from which intervals of any level are read.

    A score is (true - predicted) / scale. Intervals are symmetric in units of the scale: predicted plus and minus the
    conformal quantile of the absolute scores. For images exchangeable with those of the calibration, and on average
    over calibrations, they hold the true count with a probability of at least their level; nothing is guaranteed for
    images of another kind.

    Attributes:
        scale: expected size of an error.
        scores: (N,) ascending, for each group of predicted counts. For the zones of images: the largest absolute score
            over the zones of each image, so that the intervals of all zones of an image hold together.
        edges: predicted counts at which groups begin, ascending; one fewer than groups.
        counts: lowest and highest predicted count of the calibration.
        approximate: whether the scores are not those that the model has on new images: they served to choose it, or
            come from models that learned from fewer images. Coverage may then be below the level, or above.

    Raises:
        InputError: the numbers of groups and edges do not fit, or scores are not in ascending order.
    """

    scale: Scale
    scores: tuple[Floats, ...]
    edges: tuple[float, ...]
    counts: tuple[float, float]
    approximate: bool = False

    def __post_init__(self) -> None:
        if any((np.diff(group) < 0).any() for group in self.scores):
            raise InputError("scores: must be in ascending order")
        if len(self.scores) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise InputError(
                f"groups: {len(self.scores)} with the edges {list(self.edges)}; give rising edges, one less than groups"
            )

    @property
    def images(self) -> int:
        """Number of calibration images."""
        return sum(map(len, self.scores))

    def interval(self, count: float, variance: float | None = None, level: float = 0.9) -> Interval:
        """Return the interval of a predicted count.

        Args:
            count: predicted count.
            variance: sum of the variances of its blocks; None if the network predicts no distribution.
            level: probability with which the interval is to hold the true count.

        Raises:
            InputError: the level is not between 0 and 1, or the scale needs a variance.
        """
        quantile = conformal_quantile(self._absolute[self._group(count)], level)
        margin = quantile * self.scale(count, variance)
        return Interval(max(count - margin, 0.0), max(count + margin, 0.0), self._state(count, quantile))

    def alarm(self, threshold: float, count: float, variance: float | None = None, miss: float = 0.05) -> Alarm:
        """Return whether the true count may be above a threshold.

        The alarm fails for at most the share `miss` of exchangeable images: for no more of them is the true count above
        the threshold and the alarm silent.

        Args:
            threshold: limit of the true count, at least 0.
            count: predicted count.
            variance: see `interval`.
            miss: accepted probability of a missed excess.

        Raises:
            InputError: a number is out of its range, or the scale needs a variance.
        """
        check_number("threshold", threshold, 0)
        check_number("miss", miss, 0, 1, above=True)
        quantile = conformal_quantile(self.scores[self._group(count)], round(1 - miss, 12))
        upper = max(count + quantile * self.scale(count, variance), 0.0)
        return Alarm(upper > threshold, upper, self._state(count, quantile))

    def _group(self, count: float) -> int:
        return bisect_right(self.edges, count)

    @cached_property
    def _absolute(self) -> tuple[Floats, ...]:
        return tuple(np.sort(np.abs(group)) for group in self.scores)

    def _state(self, count: float, quantile: float) -> State:
        if math.isinf(quantile):
            return "too_few_images"
        if not self.counts[0] <= count <= self.counts[1]:
            return "outside_range"
        return "approximate" if self.approximate else "calibrated"


def interval(calibration: Calibration | None, count: float, variance: float | None, level: float) -> Interval:
    """Return the interval of a count by a calibration; 0 to infinity without one. See `Calibration.interval`."""
    conformal_rank(0, level)  # checks it
    return UNKNOWN if calibration is None else calibration.interval(count, variance, level)


def alarm(
    calibration: Calibration | None, threshold: float, count: float, variance: float | None, miss: float
) -> Alarm:
    """Return the alarm of a count by a calibration; raised without one. See `Calibration.alarm`."""
    if calibration is not None:
        return calibration.alarm(threshold, count, variance, miss)
    return Alarm(True, UNKNOWN.high, UNKNOWN.state)
