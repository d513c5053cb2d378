"""Counts over time: smoothing that can keep up with a live stream, and tables."""

import csv
import io
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from crowdcount.checks import check_number

_OF_ZONE: Final = ("count", "smoothed")


@dataclass(frozen=True)
class Reading:
    """The counts of one frame.

    Attributes:
        index: place of the frame among all frames of the video, from 0.
        seconds: when it is shown.
        count: people in the whole frame.
        smoothed: the count after smoothing.
        zones: people in each zone, by its name.
        smoothed_zones: the same after smoothing, of the same zones.
    """

    index: int
    seconds: float
    count: float
    smoothed: float
    zones: Mapping[str, float] = field(default_factory=dict)
    smoothed_zones: Mapping[str, float] = field(default_factory=dict)


class Smoother:
    """The plain mean of the last counted frames, this one included.

    It looks back only, never ahead, so it works for a live stream, and it lags: a step in the counts is there in full
    after `length` frames. At the start it is the mean of what there is. It is a mean, no median: one wrong count moves
    it by its share of the window. One smoother serves one video, the count and all its zones.

    Args:
        length: counted frames in the mean; 1 leaves the counts as they are.

    Raises:
        InputError: the length is below 1.
    """

    def __init__(self, length: int) -> None:
        check_number("smooth", length, 1, hint="which leaves the counts as they are")
        self.length = length
        self._last: dict[str | None, deque[float]] = {}

    def __call__(self, value: float) -> float:
        """Take the next value of the one series without a name, the count, and return its mean."""
        return self._mean(None, value)

    def each(self, values: Mapping[str, float]) -> dict[str, float]:
        """Take the next value of every named series, such as the zones, and return their means.

        A name has a series of its own from where it first occurs, whatever the name is.
        """
        return {name: self._mean(name, value) for name, value in values.items()}

    def reading(self, index: int, seconds: float, count: float, zones: Mapping[str, float] | None = None) -> Reading:
        """Take the counts of the next frame and return them with their means."""
        zones = zones or {}
        return Reading(index, seconds, count, self(count), dict(zones), self.each(zones))

    def _mean(self, name: str | None, value: float) -> float:
        last = self._last.setdefault(name, deque(maxlen=self.length))
        last.append(value)
        # Summed anew: a running sum would gather rounding errors over the days of a stream.
        return math.fsum(last) / len(last)


def csv_text(readings: Iterable[Reading]) -> str:
    r"""Return a table: a header, then a line for each frame, with \n at their ends.

    The columns are frame, seconds, count, smoothed, then "NAME count" and "NAME smoothed" of every zone, in the order
    in which the zones occur; a frame without a zone leaves its cells empty. Numbers have three decimals.
    """
    rows = list(readings)
    names = list(dict.fromkeys(name for row in rows for name in row.zones))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", "seconds", "count", "smoothed", *(f"{name} {of}" for name in names for of in _OF_ZONE)])
    for row in rows:
        cells = (values.get(name) for name in names for values in (row.zones, row.smoothed_zones))
        table.writerow([row.index, *map(_number, (row.seconds, row.count, row.smoothed, *cells))])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
