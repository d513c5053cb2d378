"""Records of live counting, and logs that take them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from crowdcount.intervals.calibration import Interval
from crowdcount.video.smoothing import Reading

EventKind = Literal["raised", "cleared", "lost", "returned"]


@dataclass(frozen=True)
class LiveReading:
    """Counts in one frame of a live source.

    Attributes:
        source: name of the source.
        time: seconds since 1970 in UTC at which the frame was decoded.
        counts: index of the frame, time in the stream (NaN without one), counts and their smoothed values.
        zone_intervals: intervals of the counts of zones; empty if none were asked for.
        lag: seconds by which the frame was behind, see `Lag`.
        dropped: frames of the source that newer ones have replaced since its last reading.
    """

    source: str
    time: float
    counts: Reading
    zone_intervals: Mapping[str, Interval] = field(default_factory=dict)
    lag: float = 0.0
    dropped: int = 0


@dataclass(frozen=True)
class Outage:
    """A span without readings, which is another thing than readings of zero.

    Attributes:
        source: name of the source.
        began: time of its last frame, or of the start.
        ended: time of its next frame; None while it lasts.
        reason: why there were none, without credentials.
    """

    source: str
    began: float
    ended: float | None
    reason: str


@dataclass(frozen=True)
class Event:
    """A change of an alarm, or the loss or return of a source.

    Attributes:
        source: name of the source.
        time: seconds since 1970 in UTC.
        kind: raised or cleared, of an alarm; lost or returned, of a source.
        alarm: the condition in words, or why the source was lost.
        value: number that the alarm compared; None for a source.
    """

    source: str
    time: float
    kind: EventKind
    alarm: str
    value: float | None = None


class Log(Protocol):
    """A store of readings, outages and events, in order of time.

    Its methods raise OSError where a record cannot be written now. It is kept, up to a limit, and tried again.
    """

    def begin(self, source: str, address: str, time: float) -> None:
        """Begin the records of a source; since its last one it was not watched.

        Args:
            source: its name.
            address: its address without credentials.
            time: seconds since 1970 in UTC.
        """

    def add(self, record: LiveReading | Outage | Event) -> None:
        """Add a record; an outage is added when it begins, and again with its end."""

    def close(self) -> None:
        """Write what is waiting and end the log."""

    @property
    def lost(self) -> int:
        """Records that could not be kept."""


def utc_text(time: float) -> str:
    """Return a time in ISO 8601, UTC, with milliseconds.

    Example:
        >>> utc_text(0.5)
        '1970-01-01T00:00:00.500Z'
    """
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
