import csv
import json
import math

import pytest

from crowdcount.errors import InputError
from crowdcount.files import LineFile
from crowdcount.intervals import Interval
from crowdcount.live.log import Event, LiveReading, Outage
from crowdcount.live.tables import TextLog
from crowdcount.video.smoothing import Reading

GATE = Interval(2.0, math.inf, "too_few_images")
COUNTS = Reading(7, math.nan, 12.0, 11.0, {"=gate": 3.0}, {"=gate": 2.5}, Interval(8.0, 15.0, "calibrated"))
RECORDS = (
    LiveReading("camera", 1.0, COUNTS, {"=gate": GATE}, 0.25, 24),
    Outage("camera", 1.0, None, "Connection refused"),
    Outage("camera", 1.0, 5.5, "Connection refused"),
    Event("camera", 6.0, "raised", "count>=5", math.inf),
)


def write(path, records=RECORDS):
    log = TextLog(path, ["=gate"])
    log.begin("camera", "rtsp://***@camera", 0.0)
    for record in records:
        log.add(record)
    log.close()
    return path


def test_a_table(tmp_path):
    with write(tmp_path / "log.csv").open(newline="") as file:
        start, reading, begin, end, raised = csv.DictReader(file)
    assert (start["kind"], start["note"]) == ("start", "rtsp://***@camera")
    assert reading == {
        "time": "1970-01-01T00:00:01.000Z",
        "source": "camera",
        "kind": "reading",
        "frame": "7",
        "seconds": "",
        "lag": "0.25",
        "dropped": "24",
        "count": "12.0",
        "smoothed": "11.0",
        "'=gate count": "3.0",
        "'=gate smoothed": "2.5",
        "low": "8.0",
        "high": "15.0",
        "interval": "calibrated",
        "note": "",
    }
    assert (begin["kind"], begin["time"], begin["count"]) == ("outage", "1970-01-01T00:00:01.000Z", "")
    assert (end["kind"], end["time"]) == ("outage_end", "1970-01-01T00:00:05.500Z")
    assert (raised["kind"], raised["count"], raised["note"]) == ("raised", "", "count>=5")


def test_lines_of_json(tmp_path):
    lines = [json.loads(line) for line in write(tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["start", "reading", "outage", "outage_end", "raised"]
    assert lines[1]["zones"] == {
        "=gate": {"count": 3.0, "smoothed": 2.5, "interval": {"low": 2.0, "high": None, "state": "too_few_images"}}
    }


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_log_goes_on_behind_a_half_line(tmp_path, name):
    path = write(tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole + b"1970-01-01T00:0")
    write(path, ())
    assert path.read_bytes().startswith(whole)
    assert path.read_text().splitlines()[-1] == whole.decode().splitlines()[name == "log.csv"]


def test_a_table_with_other_columns_is_refused(tmp_path):
    path = write(tmp_path / "log.csv")
    with pytest.raises(InputError, match="columns"):
        TextLog(path, ["other"])


def test_lines_that_cannot_be_written_are_kept_up_to_a_limit(tmp_path, monkeypatch):
    file = LineFile(tmp_path / "a" / "lines.txt", most_waiting=20)

    def refuse(*_):
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr("crowdcount.files.atomic_write", refuse)
        for number in range(10):
            with pytest.raises(OSError, match="no space"):
                file.append(f"line {number}\n")
    file.append("last\n")
    file.close()
    assert (tmp_path / "a" / "lines.txt").read_text() == "line 8\nline 9\nlast\n" and file.lost == 8
