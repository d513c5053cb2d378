import math
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.errors import InputError
from crowdcount.intervals import Interval
from crowdcount.live.log import Event, LiveReading, Outage
from crowdcount.live.readings import _DELETIONS, Readings
from crowdcount.video.smoothing import Reading

ROOT = Path(__file__).resolve().parents[2]
FINITE = st.floats(0, 1e6)


def reading(time, count=1.0, source="gate"):
    return LiveReading(source, time, Reading(int(time), time, count, count))


@pytest.fixture
def readings(tmp_path):
    with Readings(tmp_path / "readings.sqlite") as log:
        log.begin("gate", "rtsp://***@camera", 0.0)
        yield log


@pytest.fixture(scope="module")
def shared_log(tmp_path_factory):
    """A log for all examples of a property: to make one takes longer than to use it."""
    with Readings(tmp_path_factory.mktemp("log") / "a" / "readings.sqlite") as log:
        yield log


RECORDS = st.builds(
    lambda count, zones, ends: LiveReading(
        "",
        0.0,
        Reading(0, 1.0, count, count / 2, zones, {name: 0.5 * each for name, each in zones.items()}, ends),
        {} if ends is None else dict.fromkeys(zones, ends),
    ),
    FINITE,
    st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), FINITE, max_size=3),
    st.none() | st.just(Interval(0.0, math.inf, "uncalibrated")),
)


@given(st.lists(RECORDS, max_size=5))
def test_what_was_added_is_read_again(shared_log, records):
    source = f"camera {len(shared_log.sources())}"
    shared_log.begin(source, "0", 0.0)
    added = [LiveReading(source, 1.0 + i, each.counts, each.zone_intervals) for i, each in enumerate(records)]
    for each in added:
        shared_log.add(each)
    assert shared_log.series(source) == added
    assert shared_log.series(source, since=2.0) == added[2:]
    assert shared_log.series(source, most=2) == added[-2:]


def test_a_frame_without_a_time(readings):
    readings.add(LiveReading("gate", 5.0, Reading(0, math.nan, 1.0, 1.0)))
    assert math.isnan(readings.series("gate")[0].counts.seconds)


def test_an_outage_is_one_row_with_its_end(readings):
    readings.add(Outage("gate", 3.0, None, "Connection refused"))
    assert readings.outages("gate") == [Outage("gate", 3.0, None, "Connection refused")]
    readings.add(Outage("gate", 3.0, 9.0, "Connection refused"))
    assert readings.outages("gate") == [Outage("gate", 3.0, 9.0, "Connection refused")]
    assert readings.outages("gate", since=9.0) == []


def test_events(readings):
    events = [Event("gate", 1.0, "raised", "count>=5", 6.0), Event("gate", 2.0, "lost", "no data")]
    for each in events:
        readings.add(each)
    assert readings.events() == events and readings.events(since=1.0) == events[1:]


def test_the_time_between_two_runs_is_an_outage(tmp_path):
    path = tmp_path / "readings.sqlite"
    with Readings(path) as log:
        log.begin("gate", "0", 10.0)
        assert log.outages("gate") == []
        log.add(reading(11.0))
    with Readings(path) as log:
        log.begin("gate", "0", 50.0)
        assert log.outages("gate") == [Outage("gate", 11.0, 50.0, "not watched")]
        log.add(Outage("gate", 50.0, None, "connecting"))
    with Readings(path) as log:
        log.begin("gate", "0", 70.0)
        assert log.outages("gate")[1:] == [Outage("gate", 50.0, 70.0, "connecting; then not watched")]
        log.begin("square", "1", 70.0)
        assert log.outages("square") == [] and log.sources() == ["gate", "square"]
    with Readings(path) as log:  # ended without a reading after its last outage
        log.begin("gate", "0", 90.0)
        assert log.outages("gate")[2:] == [Outage("gate", 70.0, 90.0, "not watched")]


def test_old_records_are_deleted_and_open_outages_are_not(tmp_path):
    path, day = tmp_path / "readings.sqlite", 86_400.0
    with Readings(path) as log:
        for source in ("gate", "square"):
            log.begin(source, "0", 0.0)
            log.add(Outage(source, 1.0, 2.0, "connecting"))
            log.add(Event(source, 3.0, "raised", "count>=1", 2.0))
            for hour in range(0, 240, 6):
                log.add(LiveReading(source, 3600.0 * hour, Reading(0, 1.0, 1.0, 1.0, {"door": 1.0}, {"door": 1.0})))
        log.add(Outage("square", 5.0, None, "no data"))
    with Readings(path, keep_days=2) as log:
        log.begin("gate", "0", 10 * day)
        log.add(reading(10 * day))
        assert [each.time / day for each in log.series("gate")] == [8, 8.25, 8.5, 8.75, 9, 9.25, 9.5, 9.75, 10]
        assert [each.time / day for each in log.series("square")] == [8, 8.25, 8.5, 8.75, 9, 9.25, 9.5, 9.75]
        assert log._select("SELECT count(*), min(reading) FROM zones") == [(16, 33)]
        assert log.outages("square") == [Outage("square", 5.0, None, "no data")] and log.events() == []
        plan = log._select(f"EXPLAIN QUERY PLAN {_DELETIONS[0]}", {"before": 0, "most": 1})
        assert any("readings_time (source=? AND time<?)" in row[-1] for row in plan)


def test_another_process_reads_meanwhile(readings):
    readings.add(reading(1.0, 7.5))
    other = sqlite3.connect(readings.path)
    assert other.execute("SELECT utc, count FROM readings_utc").fetchall() == [("1970-01-01T00:00:01.000Z", 7.5)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_files_of_others_are_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.sqlite"
    text.write_text("not a database, but a long enough text to be none at all" * 20)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    newer = tmp_path / "newer.sqlite"
    Readings(newer).close()
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for path in (text, foreign, newer):
        before = path.read_bytes()
        with pytest.raises(InputError, match=path.name):
            Readings(path)
        assert path.read_bytes() == before


def test_what_cannot_be_written_waits_and_comes_later(readings, monkeypatch):
    monkeypatch.setattr("crowdcount.live.readings._MOST_WAITING", 3)
    readings._waiting = type(readings._waiting)(maxlen=3)
    readings._database.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(readings.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for second in range(5):
        with pytest.raises(OSError, match="wait"):
            readings.add(reading(1.0 + second))
    other.execute("ROLLBACK")
    other.close()
    readings.add(reading(9.0))
    assert [each.time for each in readings.series("gate")] == [4.0, 5.0, 9.0]
    assert readings.lost == 3


WRITER = """
import sys
from pathlib import Path
from tests.live.test_readings import reading
from crowdcount.live.readings import Readings
log = Readings(Path(sys.argv[1]))
log.begin("gate", "0", 0.0)
number = len(log.series("gate"))
while True:
    number += 1
    log.add(reading(float(number)))
    print(number, flush=True)
"""


def killed_writer(path, moment):
    """Run a writer, kill it some seconds after its first record, and return the number of the last one it reported."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    time.sleep(moment)
    process.kill()
    return int((first + process.communicate()[0]).split()[-1])


def check_after_kill(path, reported):
    with Readings(path) as log:
        times = [each.time for each in log.series("gate")]
        assert times == [float(number) for number in range(1, len(times) + 1)] and len(times) >= reported
        assert log._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_kill_9_leaves_every_reading_that_was_reported(tmp_path):
    path = tmp_path / "readings.sqlite"
    check_after_kill(path, killed_writer(path, 0.05))


@pytest.mark.long
def test_many_kills(tmp_path):
    path, moments = tmp_path / "readings.sqlite", random.Random(0)
    for _ in range(20):
        check_after_kill(path, killed_writer(path, 0.3 * moments.random()))
