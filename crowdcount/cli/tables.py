"""Counts of images as tables and files for other programs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from crowdcount.csv_cells import escaped_cell
from crowdcount.geometry import Points, as_points
from crowdcount.ground import columns
from crowdcount.ground.measure import GroundReading
from crowdcount.inference.prediction import Prediction
from crowdcount.intervals.calibration import Interval
from crowdcount.visualize import count_text, interval_text

_COLUMNS: Final = ("image", "count", "width", "height", "exact", "error")
_ENDS: Final = ("low", "high", "interval")


@dataclass(frozen=True)
class CountResult:
    """The count of one image.

    Attributes:
        image: the image as it was named.
        count: people in it; None where it could not be counted.
        parts: people in each zone, or found for each expression, by name.
        points: (K, 2) where they are, in pixels of the image.
        size: width and height of the image in pixels.
        exact: see `crowdcount.inference.Prediction`; None for points of expressions and for videos.
        error: why it could not be counted, or, with a count, what could not be written.
        outputs: names of the files written for it, in the folder of the table.
        interval: interval of the count; None if none was asked for.
        part_intervals: intervals of zones by name.
        doubt: see `crowdcount.inference.Prediction`; None for models that count at one size.
        ground: people per square metre of the image; None without a camera.
        part_grounds: people per square metre of zones by name.
    """

    image: str
    count: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    points: Points = field(default_factory=lambda: as_points([]))
    size: tuple[int, int] | None = None
    exact: bool | None = None
    error: str = ""
    outputs: Sequence[str] = ()
    interval: Interval | None = None
    part_intervals: Mapping[str, Interval] = field(default_factory=dict)
    doubt: float | None = None
    ground: GroundReading | None = None
    part_grounds: Mapping[str, GroundReading] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The count as a line, with its interval where there is one."""
        if self.interval is None or self.count is None:
            return count_text(self.count)
        return f"count {interval_text(self.count, self.interval)}"


def counts_csv(
    results: Sequence[CountResult], parts: Sequence[str] = (), intervals: bool = False, ground: bool = False
) -> str:
    """Return a line for each image; numbers have all their digits, what is not known is empty.

    Texts that a spreadsheet would take for a formula begin with a quote, see `escaped_cell`. A zone or an
    expression that is called like one of the other columns gets " (part)" behind its name.

    Args:
        results: the images.
        parts: names of zones or expressions, a column each, also where no image could be counted.
        intervals: whether columns with the ends and the state of the intervals follow, of the count and of each part.
        ground: whether columns with people per square metre follow, of the image and of each part.
    """
    own = (*_COLUMNS, *columns.COLUMNS) if ground else _COLUMNS
    names = [f"{name} (part)" if name in own else name for name in parts]
    each_part = ("", *(f"{name} " for name in parts))
    ends = [f"{name}{end}" for name in each_part for end in _ENDS] if intervals else []
    densities = [f"{name}{column}" for name in each_part for column in columns.COLUMNS] if ground else []
    head = _line([*_COLUMNS[:-1], *names, *ends, *densities, _COLUMNS[-1]])
    return head + "".join(counts_row(each, parts, intervals, ground) for each in results)


def counts_row(each: CountResult, parts: Sequence[str] = (), intervals: bool = False, ground: bool = False) -> str:
    """Return the line of an image in the table of `counts_csv`."""
    readings = [each.ground, *(each.part_grounds.get(name) for name in parts)] if ground else []
    densities = [cell for reading in readings for cell in columns.cells(reading)]
    known = [each.interval, *(each.part_intervals.get(name) for name in parts)] if intervals else []
    ends = [cell for interval in known for cell in interval or ("", "", "")]
    size = each.size or ("", "")
    exact = "" if each.exact is None else str(each.exact).lower()
    count = "" if each.count is None else each.count
    shares = [each.parts.get(name, "") for name in parts]
    return _line([each.image, count, *size, exact, *shares, *ends, *densities, each.error])


def _line(cells: Sequence[Any]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([escaped_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return file.getvalue()


def counts_json(results: Sequence[CountResult], model: str) -> str:
    """Return all results as JSON: what they were counted with, and a list of images with their points."""
    return json.dumps({"model": model, "images": [json_entry(each) for each in results]}, indent=1) + "\n"


def json_entry(each: CountResult) -> dict[str, Any]:
    """Return what JSON holds of an image; see `read_entry`."""
    error = {"error": each.error} if each.error else {}
    if each.count is None:
        return {"image": each.image, **error}
    assert each.size is not None
    known = {"image": each.image, "count": each.count, "width": each.size[0], "height": each.size[1]}
    exact = {} if each.exact is None else {"exact": each.exact}
    parts = {"parts": dict(each.parts)} if each.parts else {}
    outputs = {"outputs": list(each.outputs)} if each.outputs else {}
    points = np.round(each.points.astype(float), 2).tolist()
    doubt = {} if each.doubt is None else {"doubt": each.doubt}
    more = {**parts, **_interval_entries(each), **_ground_entries(each)}
    return {**known, **exact, **doubt, **more, **outputs, **error, "points": points}


def _ground_entries(each: CountResult) -> dict[str, Any]:
    own = {} if each.ground is None else {"ground": columns.encode(each.ground)}
    parts = {name: columns.encode(reading) for name, reading in each.part_grounds.items()}
    return {**own, **({"part_grounds": parts} if parts else {})}


def _interval_entries(each: CountResult) -> dict[str, Any]:
    own = {} if each.interval is None else {"interval": _interval_entry(each.interval)}
    parts = {name: _interval_entry(interval) for name, interval in each.part_intervals.items()}
    return {**own, **({"part_intervals": parts} if parts else {})}


def _interval_entry(interval: Interval) -> dict[str, Any]:
    high = interval.high if math.isfinite(interval.high) else None  # JSON has no infinity
    return {**interval._asdict(), "high": high}


def _read_interval(entry: Mapping[str, Any]) -> Interval:
    return Interval(entry["low"], math.inf if entry["high"] is None else entry["high"], entry["state"])


def read_entry(entry: Mapping[str, Any]) -> CountResult:
    """Return the image of which `json_entry` returned this.

    Raises:
        KeyError: it is no such entry.
    """
    if "count" not in entry:
        return CountResult(entry["image"], error=entry["error"])
    return CountResult(
        entry["image"],
        entry["count"],
        entry.get("parts", {}),
        as_points(entry["points"]),
        (entry["width"], entry["height"]),
        entry.get("exact"),
        entry.get("error", ""),
        tuple(entry.get("outputs", ())),
        _read_interval(entry["interval"]) if "interval" in entry else None,
        {name: _read_interval(part) for name, part in entry.get("part_intervals", {}).items()},
        entry.get("doubt"),
        columns.decode(entry["ground"]) if "ground" in entry else None,
        {name: columns.decode(part) for name, part in entry.get("part_grounds", {}).items()},
    )


def npz_bytes(prediction: Prediction, each: CountResult) -> bytes:
    """Return a compressed NumPy archive of a prediction.

    It has `count`, `density` (rows, columns) in people per block, `stride`, `seen` (width and height of the image as
    the network saw it, which the blocks are of), `size` (of the image), `points` (K, 2) in pixels of the image,
    `exact`, where the model classifies blocks `probabilities` (K, rows, columns), and where it counts at two sizes
    `size_difference` (rows, columns).
    """
    assert each.size is not None
    arrays: dict[str, Any] = {
        "count": np.float64(prediction.count),
        "density": prediction.density,
        "stride": np.int64(prediction.stride),
        "seen": np.array([prediction.width, prediction.height]),
        "size": np.array(each.size),
        "points": each.points,
        "exact": np.bool_(prediction.exact),
    }
    for name in ("probabilities", "size_difference"):
        if (blocks := getattr(prediction, name)) is not None:
            arrays[name] = blocks
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # NumPy 2.0 would store the argument allow_pickle as an array
    return file.getvalue()
