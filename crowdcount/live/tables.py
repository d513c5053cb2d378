"""Logs as text: a CSV table, or a JSON object a line."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crowdcount.csv_cells import escaped_cell
from crowdcount.errors import InputError
from crowdcount.files import LineFile
from crowdcount.intervals.calibration import Interval
from crowdcount.live.log import Event, LiveReading, Outage, utc_text

SUFFIXES: Final = (".csv", ".jsonl")
"""Suffixes of the files; the first is that of tables."""
_MOST_WAITING: Final = 2**20
_HEAD: Final = ("time", "source", "kind", "frame", "seconds", "lag", "dropped", "count", "smoothed")
_TAIL: Final = ("low", "high", "interval", "note")

Row = dict[str, Any]


class TextLog:
    """A log whose every record is a line, appended to what is there; see `Log`.

    The kinds of lines are start (of watching), reading, outage (its begin), outage_end, and those of events. All that
    lies between the last line before a start and the start was not watched.

    Args:
        path: the file, .csv or .jsonl.
        zones: names of all zones, the columns of a table; a line of JSON needs no list.

    Raises:
        InputError: a table that is there has other columns.
    """

    def __init__(self, path: Path, zones: Sequence[str] = ()) -> None:
        self._csv = path.suffix.lower() == SUFFIXES[0]
        self._columns = [*_HEAD, *(f"{zone} {of}" for zone in zones for of in ("count", "smoothed")), *_TAIL]
        start = _line([escaped_cell(name) for name in self._columns]) if self._csv else ""
        if _begin(path, len(start.encode())) not in (b"", start.encode()):
            raise InputError(f"{path}: is no table with the columns {start.strip()}; name another file", path)
        self._file = LineFile(path, start, keep=True, most_waiting=_MOST_WAITING)

    @property
    def lost(self) -> int:
        """Records that could not be kept."""
        return self._file.lost

    def begin(self, source: str, address: str, time: float) -> None:
        """Begin the records of a source; see `Log.begin`.

        Raises:
            OSError: it cannot be written now.
        """
        self._append({"time": utc_text(time), "source": source, "kind": "start", "note": address})

    def add(self, record: LiveReading | Outage | Event) -> None:
        """Add a record; see `Log.add`.

        Raises:
            OSError: it cannot be written now.
        """
        self._append(_row(record))

    def close(self) -> None:
        """Write what is waiting and close the file.

        Raises:
            OSError: lines are still waiting.
        """
        self._file.close()

    def _append(self, row: Row) -> None:
        self._file.append(self._cells(row) if self._csv else json.dumps(row, ensure_ascii=False) + "\n")

    def _cells(self, row: Row) -> str:
        zones = row.pop("zones", {})
        ends = row.pop("interval", None) or {}
        flat = row | {f"{zone} {of}": value for zone, values in zones.items() for of, value in values.items()}
        flat |= {"low": ends.get("low"), "high": ends.get("high"), "interval": ends.get("state")}
        return _line([_cell(flat.get(name)) for name in self._columns])


def _begin(path: Path, size: int) -> bytes:
    """Return the first bytes of a file; none if it is missing."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(size)


def _row(record: LiveReading | Outage | Event) -> Row:
    if isinstance(record, Outage):
        time = record.began if record.ended is None else record.ended
        kind = "outage" if record.ended is None else "outage_end"
        return {"time": utc_text(time), "source": record.source, "kind": kind, "note": record.reason}
    head: Row = {"time": utc_text(record.time), "source": record.source}
    if isinstance(record, Event):
        return head | {"kind": record.kind, "count": _finite(record.value), "note": record.alarm}
    return head | {"kind": "reading"} | _counts(record)


def _counts(record: LiveReading) -> Row:
    counts = record.counts
    row: Row = {
        "frame": counts.index,
        "seconds": _finite(counts.seconds),
        "lag": round(record.lag, 3),
        "dropped": record.dropped,
        "count": _finite(counts.count),
        "smoothed": _finite(counts.smoothed),
        "interval": _ends(counts.interval),
        "zones": {name: _zone(name, record, counts.smoothed_zones) for name in counts.zones},
    }
    return {key: value for key, value in row.items() if value is not None}


def _zone(name: str, record: LiveReading, smoothed: Mapping[str, float]) -> Row:
    values = {"count": _finite(record.counts.zones[name]), "smoothed": _finite(smoothed[name])}
    ends = _ends(record.zone_intervals.get(name))
    return values if ends is None else {**values, "interval": ends}


def _ends(interval: Interval | None) -> Row | None:
    if interval is None:
        return None
    return {"low": _finite(interval.low), "high": _finite(interval.high), "state": interval.state}


def _finite(value: float | None) -> float | None:
    """Return a number with three decimals; None without one, and for infinity, which JSON lacks."""
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _cell(value: object) -> object:
    return escaped_cell(value) if isinstance(value, str) else value


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
