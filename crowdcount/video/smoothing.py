"""Counts over time: causal smoothing and CSV tables."""

import csv
import io
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from crowdcount.checks import check_number
from crowdcount.csv_cells import escaped_cell
from crowdcount.ground import columns
from crowdcount.ground.measure import GroundReading
from crowdcount.intervals.calibration import Interval

_OF_ZONE: Final = ("count", "smoothed")


@dataclass(frozen=True)
class Reading:
    """The counts of one frame.

    Attributes:
        index: index of the frame among all frames of the video, from 0.
        seconds: time from the start of the video.
        count: people in the whole frame.
        smoothed: the count after smoothing.
        zones: people in each zone, by name.
        smoothed_zones: the same after smoothing.
        interval: interval of the mean over the window of smoothing; None if none was asked for.
        ground: people per square metre of the whole frame; None without a camera.
        zone_grounds: people per square metre of each zone, by name.
    """

    index: int
    seconds: float
    count: float
    smoothed: float
    zones: Mapping[str, float] = field(default_factory=dict)
    smoothed_zones: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    ground: GroundReading | None = None
    zone_grounds: Mapping[str, GroundReading] = field(default_factory=dict)


class Smoother:
    """Moving average over the last counted frames, the current one included.

    It uses no future frames, so it works for a live stream, but it lags: a step in the counts is complete after
    `length` frames. At the start it averages the frames so far. As a mean, not a median, it is moved by a single wrong
    count. Use one smoother per video, for the count and all its zones.

    Args:
        length: number of counted frames in the average; 1 leaves the counts unchanged.

    Raises:
        InputError: `length` is below 1.
    """

    def __init__(self, length: int) -> None:
        check_number("smooth", length, 1, hint="which leaves the counts as they are")
        self.length = length
        self._last: dict[str | None, deque[float]] = {}

    def __call__(self, value: float) -> float:
        """Add the next value of the unnamed series, the count, and return its mean."""
        return self._mean(None, value)

    def each(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add the next value of every named series, such as the zones, and return their means.

        The series of a name starts where the name first occurs.
        """
        return {name: self._mean(name, value) for name, value in values.items()}

    def reading(self, index: int, seconds: float, count: float, zones: Mapping[str, float] | None = None) -> Reading:
        """Add the counts of the next frame and return them with their means."""
        zones = zones or {}
        return Reading(index, seconds, count, self(count), dict(zones), self.each(zones))

    def _mean(self, name: str | None, value: float) -> float:
        last = self._last.setdefault(name, deque(maxlen=self.length))
        last.append(value)
        # Summed each time: a running sum would accumulate rounding errors over a long stream.
        return math.fsum(last) / len(last)


def csv_text(readings: Iterable[Reading]) -> str:
    r"""Format readings as CSV: `csv_header`, then a `csv_row` per frame, each ending in \n.

    The zones are in order of first occurrence; the cells of zones missing from a frame are empty.
    """
    rows = list(readings)
    names = list(dict.fromkeys(name for row in rows for name in row.zones))
    return csv_header(names) + "".join(csv_row(row, names) for row in rows)


def csv_header(zones: Sequence[str], intervals: bool = False, ground: bool = False) -> str:
    """Return the names of the columns: frame, seconds, count, smoothed, "NAME count" and "NAME smoothed" of each zone.

    With `intervals`, low, high and interval follow: the ends and the state of the interval of `smoothed`. With
    `ground`, people per square metre follow, of the frame and of each zone.

    A name that a spreadsheet would take for a formula begins with a quote, see `escaped_cell`.
    """
    parts = ("", *(f"{zone} " for zone in zones)) if ground else ()
    return _line(
        ["frame", "seconds", "count", "smoothed", *(escaped_cell(f"{z} {of}") for z in zones for of in _OF_ZONE)]
        + (["low", "high", "interval"] if intervals else [])
        + [escaped_cell(f"{zone}{column}") for zone in parts for column in columns.COLUMNS]
    )


def csv_row(row: Reading, zones: Sequence[str], intervals: bool = False, ground: bool = False) -> str:
    """Return the line of a frame in the table; numbers have three decimals."""
    cells = (values.get(name) for name in zones for values in (row.zones, row.smoothed_zones))
    low, high, state = row.interval or (None, None, "")
    ends = [_number(low), _number(high), state] if intervals else []
    readings = (row.ground, *(row.zone_grounds.get(name) for name in zones)) if ground else ()
    densities = [cell for reading in readings for cell in columns.cells(reading)]
    known = [_number(cell) if isinstance(cell, float) else cell for cell in densities]
    return _line([row.index, *map(_number, (row.seconds, row.count, row.smoothed, *cells)), *ends, *known])


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
