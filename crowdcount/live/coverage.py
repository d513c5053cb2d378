"""Outages of a source, which begin and end as a pure function of the times of its readings."""

from dataclasses import dataclass, field, replace
from typing import Final

from crowdcount.live.log import Event, Outage

LOST_AFTER: Final = 30.0
"""Seconds of an outage after which it is an event: short ones are in the log alone."""


@dataclass
class Coverage:
    """The outages of a source.

    Attributes:
        source: name of the source.
        start: time at which watching began.
        outage: the present one; None while there are readings.
        seconds: length of all outages that have ended.
    """

    source: str
    start: float
    outage: Outage | None = None
    seconds: float = 0.0
    _last: float = field(init=False)
    _reported: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._last = self.start

    def missing(self, time: float, reason: str) -> list[Outage | Event]:
        """Note that a reading is due and there is none; return what is new.

        Args:
            time: seconds since 1970 in UTC.
            reason: why there is none.
        """
        news: list[Outage | Event] = []
        if self.outage is None:
            self.outage = Outage(self.source, self._last, None, reason)
            news.append(self.outage)
        if not self._reported and time - self.outage.began >= LOST_AFTER:
            self._reported = True
            news.append(Event(self.source, time, "lost", reason))
        return news

    def covered(self, time: float) -> list[Outage | Event]:
        """Note a reading and return what is new.

        Args:
            time: that of its frame.
        """
        news: list[Outage | Event] = []
        if self.outage is not None:
            ended = replace(self.outage, ended=time)
            news.append(ended)
            self.seconds += max(0.0, time - ended.began)
            if self._reported:
                news.append(Event(self.source, time, "returned", ended.reason))
            self.outage, self._reported = None, False
        self._last = time
        return news
