"""A clock that tests set, a source that shows what they want, and a prediction of a given count."""

import numpy as np

from crowdcount.inference.prediction import Prediction
from crowdcount.live.reader import LiveFrame, StreamStatistics
from crowdcount.live.source import Source

START = 1_700_000_000.0
"""Time at which watching begins, in seconds since 1970."""


class FakeClock:
    """A clock that moves when somebody waits."""

    def __init__(self):
        self.now = 0.0

    def time(self):
        return START + self.now

    def monotonic(self):
        return self.now

    def wait(self, event, seconds):
        self.now += max(seconds, 0.001)
        return event.is_set()


class FakeSource:
    """A source whose frames come at a rate, but not within its outages, for some seconds.

    Frame n of the source comes at n / rate; its pixels are all `level(n)`.
    """

    def __init__(self, clock, rate=1.0, seconds=60.0, outages=(), level=lambda index: index % 200, name="camera"):
        self.source = Source(name, "network", f"rtsp://user:secret@{name}")
        self._clock, self._rate, self._seconds, self._outages, self._level = clock, rate, seconds, outages, level
        self._shown, self._received = -1, 0

    @property
    def _is_away(self):
        return any(begin <= self._clock.now < end for begin, end in self._outages)

    @property
    def trouble(self):
        return "Connection refused" if self._is_away else ""

    @property
    def ended(self):
        return self._clock.now >= self._seconds

    @property
    def statistics(self):
        index = int(self._clock.now * self._rate)
        return StreamStatistics(received=index + 1, dropped=index - self._received + 1)

    def newest(self, timeout=0.0):
        index = int(self._clock.now * self._rate)
        if self._is_away or index == self._shown:
            return None
        self._shown, self._received = index, self._received + 1
        return LiveFrame(index, self._clock.time(), index / self._rate, 0.0, flat(self._level(index)))


def flat(level):
    """Return an image of 6 x 8 pixels of one value."""
    return np.full((6, 8, 3), level, np.uint8)


def count_level(image):
    """Predict as many people as the value of the first pixel, all in the upper left block of 4 pixels."""
    density = np.zeros((2, 2), np.float32)
    density[0, 0] = image[0, 0, 0]
    return Prediction(float(density.sum()), density, 4, 6, 8)


class ListLog:
    """A log in memory."""

    def __init__(self):
        self.records, self.begun, self.lost = [], [], 0

    def begin(self, source, address, time):
        self.begun.append((source, address, time))

    def add(self, record):
        self.records.append(record)

    def close(self):
        pass
