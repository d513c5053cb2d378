"""Watching sources: what is due is counted, logged and told, one source after the other, until it is stopped."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from crowdcount.errors import InputError
from crowdcount.intervals.file import Intervals
from crowdcount.live.alarms import WHOLE, Rule
from crowdcount.live.channel import Channel, Record
from crowdcount.live.clock import Clock
from crowdcount.live.log import Event, Log
from crowdcount.live.notify import Notifier
from crowdcount.live.snapshots import Snapshots

_LOOK = 0.05
"""Seconds between two looks for a frame that is due."""


@dataclass(frozen=True)
class Outputs:
    """Destinations of records.

    Attributes:
        log: the store of all of them.
        tell: called with each.
        warn: called with what is wrong with outputs.
        notifiers: deliver events.
        snapshots: saved when an alarm is raised, and every `snapshot_every` seconds.
        snapshot_every: seconds between two snapshots of a source.
    """

    log: Log
    tell: Callable[[Record], None]
    warn: Callable[[str], None]
    notifiers: Sequence[Notifier] = ()
    snapshots: Snapshots | None = None
    snapshot_every: float = 600.0


class Watch:
    """Watches sources.

    Args:
        channels: the sources.
        outputs: where records go.
        clock: the time.
    """

    def __init__(self, channels: Sequence[Channel], outputs: Outputs, clock: Clock) -> None:
        self.channels, self._out, self._clock = list(channels), outputs, clock
        self._snapped: dict[str, float] = {}
        self._failing: set[str] = set()
        now = clock.time()
        for channel in channels:
            source = channel.source
            self._attempt("log", partial(outputs.log.begin, source.name, source.masked, now))

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop` is set or all sources have ended; the frame that is being counted is finished."""
        while not stop.is_set():
            waits = []
            for channel in self.channels:
                if stop.is_set():
                    return
                if not channel.frames.ended:
                    waits.append(self._step(channel))
            if not waits:
                return
            self._clock.wait(stop, min(waits))

    def _step(self, channel: Channel) -> float:
        """Make the reading of a source, if it is due, and return the seconds until it is to be looked at again."""
        for record in channel.step(self._clock.monotonic(), self._clock.time()):
            self._attempt("log", partial(self._out.log.add, record))
            self._out.tell(record)
            if isinstance(record, Event):
                for notifier in self._out.notifiers:
                    notifier.put(record)
            self._attempt("snapshots", partial(self._snap, channel, record))
        wait = channel.wait(self._clock.monotonic())
        return wait if wait > 0 else _LOOK

    def _snap(self, channel: Channel, record: Record) -> None:
        if self._out.snapshots is None or channel.last is None:
            return
        frame, prediction = channel.last
        raised = isinstance(record, Event) and record.kind == "raised"
        due = self._clock.monotonic() - self._snapped.get(channel.source.name, -self._out.snapshot_every)
        if raised or (due >= self._out.snapshot_every and channel.coverage.outage is None):
            self._snapped[channel.source.name] = self._clock.monotonic()
            self._out.snapshots.save(channel.source.name, frame.time, frame.image, prediction)

    def _attempt(self, output: str, write: Callable[[], None]) -> None:
        """Write, and warn once if that fails, and once more when it works again."""
        try:
            write()
        except OSError as error:
            if output not in self._failing:
                self._out.warn(f"{output}: {error}; tried again with the next record")
            self._failing.add(output)
        else:
            if output in self._failing:
                self._out.warn(f"{output}: written again")
            self._failing.discard(output)


def check_rules(rules: Sequence[Rule], zones: dict[str, list[str]], smooth: int, intervals: Intervals | None) -> None:
    """Check that every rule has something to compare.

    Args:
        rules: the rules.
        zones: names of the zones of each source.
        smooth: readings in the moving average.
        intervals: of the model; None without.

    Raises:
        InputError: a rule names no zone of any source, or has a miss rate and the model is not calibrated for it.
    """
    known = intervals is not None and (
        (intervals.frames == smooth and intervals.window is not None) or (smooth == 1 and intervals.image is not None)
    )
    for rule in rules:
        found = [name for source, names in zones.items() if (name := rule.applies_to(source, names)) is not None]
        if not found:
            all_names = sorted({name for names in zones.values() for name in names})
            raise InputError(
                f"{rule.text!r}: there is no zone {rule.target!r}; known are {', '.join([WHOLE, *all_names])}"
            )
        if rule.miss is not None and set(found) != {WHOLE}:
            raise InputError(
                f"{rule.text!r}: miss is for the count of the whole image; leave it out, or write count>=N"
            )
        if rule.miss is not None and not known:
            raise InputError(
                f"{rule.text!r}: miss needs a model that is calibrated on windows of {smooth} readings, or on images "
                "with --smooth 1; see crowdcount calibrate"
            )
