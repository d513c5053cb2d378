"""Lag of a stream: how far its frames are behind because they are decoded more slowly than they come."""

import math
from typing import Final

_BLOCK: Final = 2.0
"""Seconds over which waiting is measured."""
_FRESH: Final = 0.1
"""Share of the time that is spent waiting for data if frames are decoded as fast as they come."""


class Lag:
    """Lag of the frames of one connection.

    The delay of a frame is its arrival minus its time in the stream, known up to a constant, and drifting, as clocks of
    cameras do. Whoever had to wait for data has emptied all buffers, so the delay was then as small as it can be; the
    lag is the delay beyond that. Frames that are old because the network is too slow are not recognised.
    """

    def __init__(self) -> None:
        self._reference = self._smallest = math.inf
        self._begin, self._waited = -math.inf, 0.0

    def update(self, arrival: float, seconds: float, waited: float) -> float:
        """Add a frame and return its lag in seconds.

        Args:
            arrival: time of the machine's clock at which it was decoded.
            seconds: its time in the stream.
            waited: seconds spent waiting for its data.
        """
        delay = arrival - seconds
        self._smallest, self._waited = min(self._smallest, delay), self._waited + waited
        pause = waited > _FRESH * _BLOCK  # of the source: what comes after it is fresh whatever was before
        if pause or arrival - self._begin >= _BLOCK:
            if self._waited > _FRESH * _BLOCK or math.isinf(self._reference):
                self._reference = delay if pause else self._smallest
            self._begin, self._waited, self._smallest = arrival, 0.0, math.inf
        return max(0.0, delay - self._reference)
