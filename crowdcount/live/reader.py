"""The newest frame of a live source, whatever happens to the source."""

import threading
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from crowdcount.checks import check_number
from crowdcount.images.read import Image
from crowdcount.live.attempt import Attempt, Connect
from crowdcount.live.backoff import Backoff
from crowdcount.live.clock import Clock, SystemClock
from crowdcount.live.connection import ConnectionLost, Decoded, connect
from crowdcount.live.source import Source

_MOST_HANGING: Final = 4
"""Attempts that hang in a driver or in the system; before another is made, one of them must end."""
_LOOK: Final = 0.5
"""Seconds between two looks at attempts."""
_FAREWELL: Final = 1.0
"""Seconds that an attempt is given to end with the reader."""


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a live source.

    Attributes:
        index: index among all intact frames since the start, from 0, over all connections.
        time: seconds since 1970 in UTC at which it was decoded.
        seconds: its time in the stream; None if it has none. It begins anew with a connection, or jumps.
        lag: seconds by which it is behind, see `Lag`; 0 where it has no time.
        image: (H, W, 3) uint8 RGB, upright.
    """

    index: int
    time: float
    seconds: float | None
    lag: float
    image: Image


@dataclass(frozen=True)
class StreamStatistics:
    """Numbers of a source since its start.

    Attributes:
        received: intact frames.
        taken: frames handed out by `StreamReader.newest`.
        dropped: intact frames that a newer one replaced before they were taken.
        damaged: frames left out because they, or frames they depend on, are damaged.
        attempts: attempts to connect.
        connections: attempts that gave at least one frame.
        stalls: attempts that were given up because no intact frame came for too long.
        lag: lag of the last frame in seconds.
        most_lag: largest lag so far.
    """

    received: int = 0
    taken: int = 0
    dropped: int = 0
    damaged: int = 0
    attempts: int = 0
    connections: int = 0
    stalls: int = 0
    lag: float = 0.0
    most_lag: float = 0.0


class StreamReader:
    """Reads a source in threads of its own and keeps its newest frame alone.

    A connection that ends is opened again after a wait that grows, see `Backoff`. One that gives no intact frame for
    `patience` seconds, although it is open, is given up. A stream that falls behind by `most_lag` seconds is opened
    anew, as its frames are old. A file is played at its own pace, once.

        with StreamReader(parse_source("rtsp://camera/stream")) as reader:
            while not reader.ended:
                frame = reader.newest(timeout=1)  # None: see reader.trouble

    Args:
        source: what to read.
        patience: seconds without an intact frame after which a connection is given up; more than there are between two
            keyframes of the source, for which a new connection waits.
        most_lag: seconds by which frames may be behind.
        backoff: waits between attempts.
        clock: the time.
        connect: opens a connection.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        source: Source,
        patience: float = 20.0,
        most_lag: float = 10.0,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        connect: Connect = connect,
    ) -> None:
        check_number("patience", patience, 0, above=True, hint="in seconds")
        check_number("most_lag", most_lag, 0, above=True, hint="in seconds")
        self.source = source
        self._patience, self._most_lag = patience, most_lag
        self._backoff, self._clock, self._connect = backoff or Backoff(), clock or SystemClock(), connect
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._newest: tuple[Decoded, int, float, float] | None = None
        self._statistics, self._trouble, self._ended = StreamStatistics(), "connecting", False
        self._hanging: list[Attempt] = []
        self._supervisor = threading.Thread(target=self._supervise, name=f"watch {source.name}", daemon=True)

    @property
    def statistics(self) -> StreamStatistics:
        """Numbers so far."""
        return self._statistics

    @property
    def trouble(self) -> str:
        """Why no frames come, without credentials; "" while they do, and at the end of a file."""
        return self._trouble

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more: a file is at its end, or the reader is closed."""
        return self._ended and self._newest is None

    def newest(self, timeout: float = 0.0) -> LiveFrame | None:
        """Return the newest frame and forget it; None if there is no new one within `timeout` seconds.

        Raises:
            InputError: it cannot be converted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout)
            found, self._newest = self._newest, None
            if found is None:
                return None
            self._count(taken=1)
        decoded, index, time, lag = found
        return LiveFrame(index, time, decoded.seconds, lag, decoded.image())

    def __enter__(self) -> Self:
        """Begin to read."""
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading, in two seconds at most; an attempt that hangs is left to end by itself."""
        self.stop()
        self._supervisor.join()

    def stop(self) -> None:
        """Begin to stop, without waiting for it: several readers end together so."""
        self._stop.set()

    def _supervise(self) -> None:
        """Make one attempt after the other."""
        while not self._stop.is_set():
            self._trouble = self._follow()
            if self.source.kind == "file":
                break
            self._wait()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _follow(self) -> str:
        """Make an attempt and return why it ended, or was given up."""
        attempt = Attempt(self.source, self._patience, self._clock, self._connect, self._deliver)
        self._count(attempts=1)
        attempt.start()
        stalled = False
        while not (self._stop.is_set() or stalled or attempt.reason is not None):
            attempt.join(_LOOK)
            stalled = attempt.reason is None and self._clock.monotonic() - attempt.sign > self._patience
        with self._changed:  # from here on it delivers nothing
            attempt.given_up.set()
        if attempt.is_steady:
            self._backoff.reset()
        if not stalled:
            attempt.join(_FAREWELL)
            return attempt.reason or ""
        self._hanging.append(attempt)
        self._count(stalls=1)
        return f"no intact frame for {self._patience:g} s" + (f" ({attempt.fault})" if attempt.fault else "")

    def _wait(self) -> None:
        """Wait before the next attempt, and for attempts that hang."""
        self._clock.wait(self._stop, self._backoff.wait())
        reason = self._trouble
        while not self._stop.is_set():
            self._hanging = [each for each in self._hanging if each.is_alive()]
            if len(self._hanging) < _MOST_HANGING:
                return
            self._trouble = f"{reason}; {len(self._hanging)} connections hang in the system"
            self._clock.wait(self._stop, _LOOK)

    def _deliver(self, attempt: Attempt, decoded: Decoded) -> None:
        """Take a frame of an attempt, unless it was given up.

        Raises:
            ConnectionLost: the frame is too old.
        """
        now = self._clock.monotonic()
        lag = 0.0 if decoded.seconds is None else attempt.lag.update(now, decoded.seconds, decoded.waited)
        with self._changed:
            if attempt.given_up.is_set():
                return
            damaged, first = decoded.damaged - attempt.damaged, attempt.first is None
            self._count(received=1, damaged=damaged, dropped=int(self._newest is not None), connections=int(first))
            attempt.first = now if attempt.first is None else attempt.first
            attempt.sign, attempt.damaged, self._trouble = now, decoded.damaged, ""
            statistics = replace(self._statistics, lag=lag, most_lag=max(lag, self._statistics.most_lag))
            self._newest, self._statistics = (decoded, statistics.received - 1, self._clock.time(), lag), statistics
            self._changed.notify_all()
        if lag > self._most_lag and self.source.kind != "file":
            raise ConnectionLost(f"frames are {lag:.1f} s behind: they come faster than they are decoded here")

    def _count(self, **more: int) -> None:
        with self._changed:
            old = self._statistics
            self._statistics = replace(old, **{name: getattr(old, name) + number for name, number in more.items()})
