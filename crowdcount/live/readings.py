"""Readings in one SQLite file that a kill at any moment leaves readable."""

import math
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from crowdcount.errors import InputError
from crowdcount.intervals.calibration import Interval
from crowdcount.live.log import Event, LiveReading, Outage
from crowdcount.video.smoothing import Reading

SCHEMA: Final = 1
"""Version of the tables, in `PRAGMA user_version`."""
_APPLICATION: Final = 0x43726F77
"""`PRAGMA application_id` of these files: "Crow"."""
_MOST_WAITING: Final = 10_000
"""Records that are kept while the file cannot be written."""
_DAY: Final = 86_400.0
_BETWEEN_DELETIONS: Final = 60.0
"""Seconds between two looks for records that are too old."""
_MOST_DELETED: Final = 10_000
"""Readings that are deleted at a time; more than come in a minute."""

_TABLES: Final = """
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, address TEXT NOT NULL);
CREATE TABLE readings (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, time REAL NOT NULL, frame INTEGER NOT NULL,
    seconds REAL, lag REAL NOT NULL, dropped INTEGER NOT NULL,
    count REAL NOT NULL, smoothed REAL NOT NULL, low REAL, high REAL, interval TEXT
);
CREATE INDEX readings_time ON readings (source, time);
CREATE TABLE zones (
    reading INTEGER NOT NULL REFERENCES readings ON DELETE CASCADE, name TEXT NOT NULL,
    count REAL NOT NULL, smoothed REAL NOT NULL, low REAL, high REAL, interval TEXT, PRIMARY KEY (reading, name)
) WITHOUT ROWID;
CREATE TABLE outages (
    source INTEGER NOT NULL REFERENCES sources, began REAL NOT NULL, ended REAL, reason TEXT NOT NULL,
    PRIMARY KEY (source, began)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, time REAL NOT NULL, kind TEXT NOT NULL,
    alarm TEXT NOT NULL, value REAL
);
CREATE VIEW readings_utc AS
    SELECT sources.name AS source, strftime('%Y-%m-%dT%H:%M:%fZ', time, 'unixepoch') AS utc, readings.count, smoothed,
        low, high, interval FROM readings JOIN sources ON sources.id = readings.source;
"""

_DELETIONS: Final = (
    # by the index, which begins with the source: a CROSS JOIN is done in this order
    "DELETE FROM readings WHERE id IN (SELECT readings.id FROM sources CROSS JOIN readings "
    "ON source = sources.id AND time < :before LIMIT :most)",
    "DELETE FROM events WHERE time < :before",
    "DELETE FROM outages WHERE ended < :before",
)


class Readings:
    """A log in SQLite, in WAL mode; see `Log`.

    Every record is a transaction of its own: a process that is killed leaves all records written so far, and no half
    one. A power cut may lose the last ones, but does not damage the file. Other processes may read it meanwhile. While
    it cannot be written, such as on a full disk, the last 10,000 records are kept and tried again.

        with Readings(Path("readings.sqlite")) as readings:
            readings.begin("gate", "rtsp://***@camera/1", time.time())
            readings.add(reading)
            readings.series("gate", since=time.time() - 3600)

    Args:
        path: the file; created if it is missing.
        keep_days: age in days from which on records are deleted; None keeps all. The file becomes no smaller by that,
            but what is free in it is used again.

    Raises:
        InputError: the file is another one, of another version, or cannot be opened.
    """

    def __init__(self, path: Path, keep_days: float | None = None) -> None:
        self.path, self.lost = path, 0
        self._keep, self._cleared = math.inf if keep_days is None else _DAY * keep_days, -math.inf
        self._waiting: deque[LiveReading | Outage | Event] = deque(maxlen=_MOST_WAITING)
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _about(path):
            self._database = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        run = self._database.execute
        run("PRAGMA foreign_keys = ON")
        run("BEGIN IMMEDIATE")  # of two processes that create the file, one waits
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, _TABLES.split(";")):
                run(statement)
            run(f"PRAGMA application_id = {_APPLICATION}")
            run(f"PRAGMA user_version = {SCHEMA}")
        elif application != _APPLICATION:
            raise InputError(f"{self.path}: is a database of another program; name another file", self.path)
        elif version != SCHEMA:
            raise InputError(
                f"{self.path}: has version {version} of the tables, and this version of crowdcount writes {SCHEMA}; "
                "name another file",
                self.path,
            )
        run("COMMIT")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")

    def begin(self, source: str, address: str, time: float) -> None:
        """Begin the records of a source; see `Log.begin`.

        Raises:
            InputError: the file cannot be written.
        """
        with self._lock, _about(self.path), self._database as run:
            run.execute("BEGIN")
            run.execute(
                "INSERT INTO sources (name, address) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET address = excluded.address",
                (source, address),
            )
            key = self._ids[source] = run.execute("SELECT id FROM sources WHERE name = ?", (source,)).fetchone()[0]
            self._close_gap(key, time)

    def _close_gap(self, key: int, time: float) -> None:
        """Record that a source was not watched since its last record, and end its open outage."""
        run = self._database.execute
        if run(
            "UPDATE outages SET ended = ?, reason = reason || '; then not watched' WHERE source = ? AND ended IS NULL",
            (time, key),
        ).rowcount:
            return
        (last,) = run(
            "SELECT max(time) FROM (SELECT max(time) AS time FROM readings WHERE source = :key "
            "UNION ALL SELECT max(ended) FROM outages WHERE source = :key)",
            {"key": key},
        ).fetchone()
        if last is not None and last < time:
            run("INSERT OR IGNORE INTO outages VALUES (?, ?, ?, 'not watched')", (key, last, time))

    def add(self, record: LiveReading | Outage | Event) -> None:
        """Add a record of a source that has begun; see `Log.add`.

        Raises:
            OSError: it cannot be written now.
        """
        with self._lock:
            self.lost += len(self._waiting) == _MOST_WAITING
            self._waiting.append(record)
            self._write()
            if isinstance(record, LiveReading) and math.isfinite(self._keep):
                self._delete_old(record.time)

    def close(self) -> None:
        """Write what is waiting and close the file.

        Raises:
            OSError: records are still waiting.
        """
        with self._lock:
            try:
                self._write()
            finally:
                self._database.close()

    def _write(self) -> None:
        try:
            while self._waiting:
                with self._database as run:
                    run.execute("BEGIN IMMEDIATE")
                    self._insert(self._waiting[0])
                self._waiting.popleft()
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: cannot be written now ({error}); {len(self._waiting)} records wait") from error

    def _delete_old(self, now: float) -> None:
        """Delete records that are older than is kept, some at a time so that it takes moments."""
        if now - self._cleared < _BETWEEN_DELETIONS:
            return
        self._cleared = now
        values = {"before": now - self._keep, "most": _MOST_DELETED}
        try:
            with self._database as run:
                run.execute("BEGIN IMMEDIATE")
                for statement in _DELETIONS:
                    run.execute(statement, values)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: old records cannot be deleted now ({error})") from error

    def _insert(self, record: LiveReading | Outage | Event) -> None:
        run, key = self._database.execute, self._ids[record.source]
        if isinstance(record, Outage):
            run(
                "INSERT INTO outages VALUES (?, ?, ?, ?) ON CONFLICT (source, began) DO UPDATE SET ended = "
                "excluded.ended, reason = excluded.reason",
                (key, record.began, record.ended, record.reason),
            )
        elif isinstance(record, Event):
            values = (key, record.time, record.kind, record.alarm, record.value)
            run("INSERT INTO events (source, time, kind, alarm, value) VALUES (?, ?, ?, ?, ?)", values)
        else:
            self._insert_reading(record, key)

    def _insert_reading(self, record: LiveReading, key: int) -> None:
        counts = record.counts
        head = (key, record.time, counts.index, _number(counts.seconds), record.lag, record.dropped)
        row = self._database.execute(
            "INSERT INTO readings (source, time, frame, seconds, lag, dropped, count, smoothed, low, high, interval) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*head, counts.count, counts.smoothed, *_ends(counts.interval)),
        ).lastrowid
        self._database.executemany(
            "INSERT INTO zones VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (row, name, count, counts.smoothed_zones[name], *_ends(record.zone_intervals.get(name)))
                for name, count in counts.zones.items()
            ],
        )

    def sources(self) -> list[str]:
        """Return the names of all sources that have records."""
        return [name for (name,) in self._select("SELECT name FROM sources ORDER BY id")]

    def series(self, source: str, since: float = 0.0, most: int = 100_000) -> list[LiveReading]:
        """Return the readings of a source in order of time: those after `since`, the last `most` of them."""
        rows = self._select(
            "SELECT readings.* FROM readings JOIN sources ON sources.id = source WHERE name = ? AND time > ? "
            "ORDER BY time DESC, readings.id DESC LIMIT ?",
            (source, since, most),
        )[::-1]
        zones = self._zones(rows[0][0], rows[-1][0]) if rows else {}
        return [_reading(source, row, zones.get(row[0], [])) for row in rows]

    def summary(self, source: str, since: float, width: float) -> list[tuple[int, float, float, float]]:
        """Return the readings of a source after `since`, summarised over spans of `width` seconds, in order of time.

        Returns:
            For each span with readings: its number, counted from 1970; the mean of the smoothed counts; the smallest
            and the largest count.
        """
        rows = self._select(
            "SELECT CAST(time / ? AS INTEGER) AS span, avg(smoothed), min(count), max(count) FROM readings "
            "JOIN sources ON sources.id = source WHERE name = ? AND time > ? GROUP BY span ORDER BY span",
            (width, source, since),
        )
        return [(int(span), mean, low, high) for span, mean, low, high in rows]

    def outages(self, source: str, since: float = 0.0) -> list[Outage]:
        """Return the outages of a source that last beyond `since`, in order of time."""
        rows = self._select(
            "SELECT name, began, ended, reason FROM outages JOIN sources ON id = source WHERE name = ? "
            "AND (ended IS NULL OR ended > ?) ORDER BY began",
            (source, since),
        )
        return [Outage(*row) for row in rows]

    def events(self, since: float = 0.0, most: int = 1000) -> list[Event]:
        """Return the events of all sources after `since` in order of time, the last `most` of them."""
        rows = self._select(
            "SELECT name, time, kind, alarm, value FROM events JOIN sources ON sources.id = source WHERE time > ? "
            "ORDER BY events.id DESC LIMIT ?",
            (since, most),
        )
        return [Event(*row) for row in rows[::-1]]

    def _zones(self, first: int, last: int) -> dict[int, list[tuple[Any, ...]]]:
        zones: dict[int, list[tuple[Any, ...]]] = {}
        for row in self._select("SELECT * FROM zones WHERE reading BETWEEN ? AND ?", (first, last)):
            zones.setdefault(row[0], []).append(row[1:])
        return zones

    def _select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


@contextmanager
def _about(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be used for readings ({error}); name another file", path) from error


def _number(value: float | None) -> float | None:
    """Return a number as SQLite keeps it, which has no NaN."""
    return None if value is None or math.isnan(value) else value


def _ends(interval: Interval | None) -> tuple[float | None, float | None, str | None]:
    return (None, None, None) if interval is None else (interval.low, interval.high, interval.state)


def _interval(low: float | None, high: float | None, state: Any) -> Interval | None:
    return None if low is None or high is None else Interval(low, high, state)


def _reading(source: str, row: tuple[Any, ...], zones: Sequence[tuple[Any, ...]]) -> LiveReading:
    _, _, time, frame, seconds, lag, dropped, count, smoothed, *ends = row
    counts = Reading(
        frame,
        math.nan if seconds is None else seconds,
        count,
        smoothed,
        {name: value for name, value, *_ in zones},
        {name: value for name, _, value, *_ in zones},
        _interval(*ends),
    )
    known = {name: found for name, _, _, *rest in zones if (found := _interval(*rest)) is not None}
    return LiveReading(source, time, counts, known, lag, dropped)
