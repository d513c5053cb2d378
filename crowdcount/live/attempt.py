"""One attempt to read a source: a thread that connects, decodes, and ends with a reason."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from crowdcount.live.clock import Clock
from crowdcount.live.connection import Connection, ConnectionLost, Decoded
from crowdcount.live.lag import Lag
from crowdcount.live.masking import mask_text
from crowdcount.live.source import Source

Connect = Callable[[Source, float], AbstractContextManager[Connection]]
"""Opens a source with a limit of the seconds of each wait."""

_STABLE: Final = 10.0
"""Seconds for which an attempt gives frames before the next wait is a short one again."""


class Attempt(threading.Thread):
    """Reads a source over one connection, in a thread of its own that may hang in a driver or in the system.

    Args:
        source: what to read.
        patience: seconds that opening may take, and each wait for data.
        clock: the time.
        connect: opens the connection.
        deliver: called with this attempt and each frame; raises `ConnectionLost` to end it.

    Attributes:
        sign: time of the monotonic clock at which it last gave a frame, or began.
        first: time of its first frame; None before.
        damaged: damaged frames so far.
        reason: why it ended, "" at the end of a file; None while it runs.
        given_up: an event that is set to end it.
        lag: lag of its frames.
    """

    def __init__(
        self,
        source: Source,
        patience: float,
        clock: Clock,
        connect: Connect,
        deliver: Callable[["Attempt", Decoded], None],
    ) -> None:
        super().__init__(name=f"read {source.name}", daemon=True)
        self._source, self._patience, self._clock = source, patience, clock
        self._connect, self._deliver = connect, deliver
        self._connection: Connection | None = None
        self.sign, self.damaged = clock.monotonic(), 0
        self.first: float | None = None
        self.reason: str | None = None
        self.given_up, self.lag = threading.Event(), Lag()

    @property
    def fault(self) -> str:
        """Last error of the decoder; "" without one."""
        return self._connection.fault if self._connection else ""

    @property
    def is_steady(self) -> bool:
        """Whether it gave frames for a while."""
        return self.first is not None and self.sign - self.first >= _STABLE

    def run(self) -> None:
        """Read until the source ends or the attempt is given up."""
        reason = "stopped without a reason"
        try:
            with self._connect(self._source, self._patience) as self._connection:
                self._read(self._connection)
            reason = "" if self._source.kind == "file" else "the source ended the stream"
        except ConnectionLost as error:
            reason = str(error)
        except Exception as error:  # of a library: the next attempt may do better, and the reason is reported
            reason = f"{type(error).__name__}: {mask_text(str(error))}"
        finally:
            self.reason = reason

    def _read(self, connection: Connection) -> None:
        begin: float | None = None
        for decoded in connection.frames():
            if self._source.kind == "file" and decoded.seconds is not None:
                begin = self._clock.monotonic() - decoded.seconds if begin is None else begin
                self._clock.wait(self.given_up, begin + decoded.seconds - self._clock.monotonic())
            if self.given_up.is_set():
                return
            self._deliver(self, decoded)
