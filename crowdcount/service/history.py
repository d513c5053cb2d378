"""Readings of watched streams over time, few enough to be drawn."""

import time
from typing import Final

from pydantic import BaseModel, Field

from crowdcount.live.readings import Readings

POINTS: Final = 400
"""Number of points in which a time span is summarised."""


class Point(BaseModel):
    """The readings of a short time."""

    time: float = Field(description="Seconds since 1970 in UTC, the middle of the time.")
    count: float = Field(description="Mean of the smoothed counts.")
    low: float = Field(description="Smallest count.")
    high: float = Field(description="Largest count.")


class OutageAnswer(BaseModel):
    """A time without readings."""

    began: float
    ended: float | None = Field(description="null while it lasts.")
    reason: str


class History(BaseModel):
    """Readings of one source."""

    source: str | None
    sources: list[str] = Field(description="All that have readings.")
    since: float
    until: float
    points: list[Point]
    outages: list[OutageAnswer]


def read_history(readings: Readings, source: str | None, hours: float, now: float | None = None) -> History:
    """Return the readings of the last hours in at most `POINTS` + 1 points; a point has all readings of its time.

    Args:
        readings: of `crowdcount watch`.
        source: name; None for the first one.
        hours: length of the time.
        now: seconds since 1970; None for the clock's.
    """
    until = time.time() if now is None else now
    since, sources = until - 3600 * hours, readings.sources()
    chosen = source if source is not None else next(iter(sources), None)
    if chosen is None:
        return History(source=None, sources=[], since=since, until=until, points=[], outages=[])
    width = 3600 * hours / POINTS
    points = [
        Point(time=(span + 0.5) * width, count=mean, low=low, high=high)
        for span, mean, low, high in readings.summary(chosen, since, width)
    ]
    outages = [
        OutageAnswer(began=each.began, ended=each.ended, reason=each.reason) for each in readings.outages(chosen, since)
    ]
    return History(source=chosen, sources=sources, since=since, until=until, points=points, outages=outages)
