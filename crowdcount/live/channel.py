"""One source that is watched: when it is due, what is counted in its frames, and what follows from that."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from crowdcount.errors import InputError
from crowdcount.images.read import Image
from crowdcount.inference.prediction import Prediction
from crowdcount.live.alarms import WHOLE, Alarm, Rule
from crowdcount.live.coverage import Coverage
from crowdcount.live.log import Event, LiveReading, Outage
from crowdcount.live.reader import LiveFrame, StreamStatistics
from crowdcount.live.source import Source
from crowdcount.video.smoothing import Smoother
from crowdcount.video.window import WindowBounds
from crowdcount.zones import Zone, zone_counts, zone_intervals


class FrameSource(Protocol):
    """A source of newest frames, such as `StreamReader`."""

    source: Source

    @property
    def statistics(self) -> StreamStatistics:
        """Numbers so far."""

    @property
    def trouble(self) -> str:
        """Why no frames come; "" while they do."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""

    def newest(self, timeout: float = 0.0) -> LiveFrame | None:
        """Return the newest frame and forget it; raises `InputError` for one that cannot be converted."""


@dataclass(frozen=True)
class Counting:
    """Settings of counting.

    Attributes:
        predict: counts in an image (H, W, 3) uint8 RGB.
        every: seconds between two readings.
        smooth: readings in the moving average.
        level: level of intervals; None for none.
    """

    predict: Callable[[Image], Prediction]
    every: float = 1.0
    smooth: int = 5
    level: float | None = None


Record = LiveReading | Outage | Event


class Channel:
    """A source, its zones and its alarms.

    Args:
        frames: its frames.
        counting: settings.
        zones: regions to count in as well.
        rules: of all sources; those of this one make its alarms.
        start: time at which watching begins.

    Attributes:
        readings: number of readings.
        late: readings left out because counting took longer than `every`, or frames came more rarely.
        last: frame and prediction of the last reading.
    """

    def __init__(
        self, frames: FrameSource, counting: Counting, zones: Sequence[Zone], rules: Sequence[Rule], start: float
    ) -> None:
        self.frames, self.zones, self.source = frames, list(zones), frames.source
        self.coverage = Coverage(self.source.name, start)
        self.readings = self.late = 0
        self.last: tuple[LiveFrame, Prediction] | None = None
        self._counting = counting
        names = [zone.name for zone in zones]
        applied = [(name, Alarm(rule)) for rule in rules if (name := rule.applies_to(self.source.name, names))]
        self.alarms: list[tuple[str, Alarm]] = applied
        self._due, self._dropped = -math.inf, 0
        self._begin_window()

    def wait(self, now: float) -> float:
        """Return the seconds until its next reading is due; 0 or less if it is."""
        return self._due - now

    def step(self, now: float, time: float) -> Iterator[Record]:
        """Make the reading that is due, if there is a frame, and yield what is new.

        Args:
            now: time of the monotonic clock.
            time: seconds since 1970 in UTC.
        """
        if now < self._due:
            return
        try:
            frame = self.frames.newest()
            if frame is None:
                if self.frames.trouble and not self.frames.ended:
                    yield from self._missing(time, self.frames.trouble)
                return
            prediction = self._counting.predict(frame.image)
            reading = self._reading(frame, prediction)
        except InputError as error:
            self._schedule(now)
            yield from self._missing(time, f"cannot be counted: {error}")
            return
        self._schedule(now)
        self.last, self.readings = (frame, prediction), self.readings + 1
        yield from self.coverage.covered(frame.time)
        yield reading
        yield from self._changes(reading, prediction)

    def _missing(self, time: float, reason: str) -> list[Outage | Event]:
        if self.coverage.outage is None:
            self._begin_window()
            for _, alarm in self.alarms:
                alarm.interrupt()
        return self.coverage.missing(time, reason)

    def _begin_window(self) -> None:
        """Forget frames from before an outage: a mean over both sides of it means nothing."""
        self._smoother, self._bounds = Smoother(self._counting.smooth), WindowBounds(self._counting.smooth)

    def _schedule(self, now: float) -> None:
        """Set the time of the next reading; times that have passed are left out, and counted unless it was away."""
        if self.coverage.outage is not None or math.isinf(self._due):
            self._due = now + self._counting.every
            return
        passed = math.floor((now - self._due) / self._counting.every)
        self.late += passed
        self._due += (passed + 1) * self._counting.every

    def _reading(self, frame: LiveFrame, prediction: Prediction) -> LiveReading:
        height, width = frame.image.shape[:2]
        level = self._counting.level
        counts = self._smoother.reading(
            frame.index,
            math.nan if frame.seconds is None else frame.seconds,
            prediction.count,
            zone_counts(prediction, self.zones, height, width),
        )
        self._bounds.add(prediction)
        if level is not None:
            counts = replace(counts, interval=self._bounds.interval(counts.smoothed, level))
        known = {} if level is None else zone_intervals(prediction, self.zones, height, width, level)
        dropped, self._dropped = self.frames.statistics.dropped - self._dropped, self.frames.statistics.dropped
        return LiveReading(self.source.name, frame.time, counts, known, frame.lag, dropped)

    def _changes(self, reading: LiveReading, prediction: Prediction) -> Iterator[Event]:
        for name, alarm in self.alarms:
            value = self._value(name, alarm.rule, reading, prediction)
            if change := alarm.update(reading.time, value):
                yield Event(self.source.name, reading.time, change, alarm.rule.text, value)

    def _value(self, name: str, rule: Rule, reading: LiveReading, prediction: Prediction) -> float:
        """Return the number that a rule compares: the smoothed count, or the upper bound of the count."""
        whole = name == WHOLE and name not in reading.counts.zones
        smoothed = reading.counts.smoothed if whole else reading.counts.smoothed_zones[name]
        if rule.miss is None:
            return smoothed
        assert whole, "rules with a miss rate are for the whole image"
        return self._bounds.alarm(rule.on, smoothed, rule.miss).upper
