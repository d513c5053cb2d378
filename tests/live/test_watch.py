import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from shapely import box

from crowdcount.errors import InputError
from crowdcount.live.alarms import parse_rule
from crowdcount.live.channel import Channel, Counting
from crowdcount.live.log import Event, LiveReading, Outage
from crowdcount.live.readings import Readings
from crowdcount.live.watch import Outputs, Watch, check_rules
from crowdcount.zones import Zone
from tests.support.live import START, FakeClock, FakeSource, ListLog, count_level


def watch(source, clock, counting=None, zones=(), rules=(), log=None, **outputs):
    """Watch a source to its end and return its channel and the records."""
    log, warnings = log or ListLog(), []
    channel = Channel(source, counting or Counting(count_level, smooth=1), zones, rules, clock.time())
    Watch([channel], Outputs(log, lambda _: None, warnings.append, **outputs), clock).run(threading.Event())
    return channel, getattr(log, "records", [])


def of(kind, records):
    return [each for each in records if isinstance(each, kind)]


def test_one_reading_a_period_of_the_newest_frame():
    clock = FakeClock()
    channel, records = watch(FakeSource(clock, rate=25, seconds=20), clock, Counting(count_level, every=2, smooth=1))
    readings = of(LiveReading, records)
    assert [round(each.time - START) for each in readings] == list(range(0, 20, 2))
    assert all(each.counts.count == each.counts.index % 200 for each in readings)
    assert [each.dropped for each in readings[1:]] == [49] * 9
    assert channel.readings == 10 and channel.late == 0 and records == readings


def test_an_outage_is_recorded_with_its_ends_and_no_reading_is_made_up():
    clock = FakeClock()
    source = FakeSource(clock, rate=5, seconds=100, outages=[(0, 3), (20.5, 60)])
    channel, records = watch(source, clock)
    first, first_end, second, second_end = of(Outage, records)
    assert (first.began, first.ended, first.reason) == (START, None, "Connection refused")
    assert first_end.ended == pytest.approx(START + 3, abs=0.2)
    assert second.began == pytest.approx(START + 20.3, abs=0.8) and second_end.ended == pytest.approx(
        START + 60, abs=0.2
    )
    times = [each.time - START for each in of(LiveReading, records)]
    assert not [time for time in times if time < 3 or 20.5 <= time < 60]
    assert [(each.kind, round(each.time - START)) for each in of(Event, records)] == [("lost", 50), ("returned", 60)]
    assert channel.coverage.seconds == pytest.approx(3 + 39.6, abs=1) and channel.late == 0


def test_a_mean_does_not_reach_over_an_outage():
    clock = FakeClock()
    source = FakeSource(clock, seconds=60, outages=[(20, 40)], level=lambda index: 100 if index < 30 else 10)
    _, records = watch(source, clock, Counting(count_level, smooth=5))
    smoothed = [each.counts.smoothed for each in of(LiveReading, records)]
    assert set(smoothed) == {100, 10}


def test_counting_that_takes_too_long_leaves_readings_out_and_counts_them():
    clock = FakeClock()

    def slowly(image):
        clock.now += 2.5
        return count_level(image)

    channel, records = watch(FakeSource(clock, rate=25, seconds=30), clock, Counting(slowly, smooth=1))
    assert channel.readings == 12 and 16 <= channel.late <= 18 and not of(Outage, records)


def test_zones_and_alarms():
    clock = FakeClock()
    zone = Zone("gate", box(0, 0, 2, 4))  # half of the block that holds everybody
    rules = [parse_rule("gate>=20 off=10 for=5"), parse_rule("camera/count>=80"), parse_rule("square/count>=1")]
    source = FakeSource(clock, seconds=100, level=lambda index: index if index < 50 else 10)
    _, records = watch(source, clock, zones=[zone], rules=rules)
    readings = of(LiveReading, records)
    assert readings[30].counts.zones == pytest.approx({"gate": 15})
    events = [(each.kind, round(each.time - START), each.value) for each in of(Event, records)]
    assert events == [("raised", 45, pytest.approx(22.5)), ("cleared", 55, pytest.approx(5))]


def test_what_cannot_be_counted_is_an_outage():
    clock = FakeClock()

    def refuse(image):
        if 10 <= image[0, 0, 0] < 20:
            raise InputError("too large")
        return count_level(image)

    _, records = watch(FakeSource(clock, seconds=30), clock, Counting(refuse, smooth=1))
    begin, end = of(Outage, records)
    assert begin.reason == "cannot be counted: too large" and end.ended == pytest.approx(START + 20, abs=0.1)
    assert len(of(LiveReading, records)) == 20


def test_what_cannot_be_converted_is_an_outage():
    class Odd(FakeSource):
        def newest(self, timeout=0.0):
            frame = super().newest(timeout)
            if frame is not None and 10 <= frame.index < 20:
                raise InputError("FFmpeg cannot convert frames of odd")
            return frame

    clock = FakeClock()
    _, records = watch(Odd(clock, seconds=30), clock)
    begin, end = of(Outage, records)
    assert begin.reason == "cannot be counted: FFmpeg cannot convert frames of odd"
    assert end.ended == pytest.approx(START + 20, abs=0.1) and len(of(LiveReading, records)) == 20


def test_a_log_that_fails_is_warned_of_once():
    class Full(ListLog):
        def add(self, record):
            if len(self.records) < 5:
                self.records.append(None)
                raise OSError("no space")
            super().add(record)

    clock, warnings, log = FakeClock(), [], Full()
    channel = Channel(FakeSource(clock, seconds=20), Counting(count_level), [], [], clock.time())
    Watch([channel], Outputs(log, lambda _: None, warnings.append), clock).run(threading.Event())
    assert len(warnings) == 2 and "no space" in warnings[0] and "again" in warnings[1]


def test_several_sources_take_turns():
    clock, log = FakeClock(), ListLog()
    sources = [FakeSource(clock, rate=10, seconds=10, name=name) for name in ("a", "b")]
    channels = [Channel(each, Counting(count_level, smooth=1), [], [], clock.time()) for each in sources]
    Watch(channels, Outputs(log, lambda _: None, print), clock).run(threading.Event())
    assert [channel.readings for channel in channels] == [10, 10]
    assert log.begun == [("a", "rtsp://***@a", START), ("b", "rtsp://***@b", START)]


def test_it_stops_after_the_frame_that_is_counted():
    clock, stop, log = FakeClock(), threading.Event(), ListLog()

    def count(image):
        stop.set()
        return count_level(image)

    sources = [FakeSource(clock, name=name) for name in ("a", "b")]
    channels = [Channel(each, Counting(count, smooth=1), [], [], clock.time()) for each in sources]
    Watch(channels, Outputs(log, lambda _: None, print), clock).run(stop)
    assert [channel.readings for channel in channels] == [1, 0] and len(log.records) == 1


def test_rules_must_have_something_to_compare():
    zones = {"camera": ["gate"], "square": []}
    check_rules([parse_rule("gate>=1"), parse_rule("square/count>=1")], zones, 1, None)
    for text, reason in (
        ("door>=1", "no zone 'door'"),
        ("gate>=1 miss=0.1", "whole"),
        ("count>=1 miss=0.1", "calibrated"),
    ):
        with pytest.raises(InputError, match=reason):
            check_rules([parse_rule(text)], zones, 1, None)


def watch_for(folder, seconds, memory, zones=()):
    """Watch a source that is away for a minute of every ten; return it, its outages, its rows and bytes in use.

    `memory` returns the bytes in use; they are taken after the first tenth of the readings, and at the end.
    """
    clock, used = FakeClock(), []
    outages = [(begin, begin + 60.0) for begin in range(300, int(seconds), 600)]
    source = FakeSource(clock, seconds=seconds, outages=outages)

    def counted(image):
        if source._received == int(0.09 * seconds):
            used.append(memory())
        return count_level(image)

    with Readings(folder / "readings.sqlite") as log:
        rules = [parse_rule("count>=150 for=10")]
        channel, _ = watch(source, clock, Counting(counted), zones, rules, log)
        used.append(memory())
        ended = [each for each in log.outages("camera") if each.ended is not None]
        (rows,) = log._select("SELECT count(*) FROM readings")[0]
    return channel, ended, rows, used


def test_ten_minutes_in_moments(tmp_path):
    tracemalloc.start()
    try:
        channel, outages, rows, used = watch_for(tmp_path, 600.0, lambda: tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert rows == channel.readings == 540 and channel.late == 0
    assert [round(each.ended - each.began) for each in outages] == [61]
    assert used[1] - used[0] < 30_000


@pytest.mark.long
def test_a_day_of_86400_frames(tmp_path):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    zones = [Zone("gate", box(0, 0, 4, 4))]
    channel, outages, rows, used = watch_for(tmp_path, 86_400.0, resident, zones)
    mib = ", ".join(f"{each / 2**20:.1f}" for each in used)
    print(f"{rows} readings, {len(outages)} outages, MiB in use after a tenth and at the end: {mib}")
    assert rows == channel.readings == 86_400 - 144 * 60 and channel.late == 0 and len(outages) == 144
    assert used[1] - used[0] < 5 * 2**20
