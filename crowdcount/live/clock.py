"""The time, as an argument: tests run a day in seconds."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The time that live counting goes by."""

    def time(self) -> float:
        """Return seconds since 1970 in UTC."""

    def monotonic(self) -> float:
        """Return seconds of a clock that is never set."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event, but no longer than some seconds, and return whether it is set."""


class SystemClock:
    """The clock of the machine; see `Clock`."""

    def time(self) -> float:
        """Return seconds since 1970 in UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of a clock that is never set."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event, but no longer than some seconds, and return whether it is set."""
        return event.wait(seconds)
