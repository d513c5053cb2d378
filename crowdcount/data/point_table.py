"""One file with the points of many images: JSON or CSV, its images called by their names."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from crowdcount.data.annotation import checked_points
from crowdcount.data.point_file import json_of, pair_of, text_of
from crowdcount.errors import InputError
from crowdcount.geometry import Points

_COLUMNS = ("image", "x", "y")


class Entry(NamedTuple):
    """The points of one image in a table.

    Attributes:
        points: (N, 2) as written.
        place: where in the file the image is first named, for messages.
    """

    points: Points
    place: str


def read_table(path: Path) -> dict[str, Entry]:
    """Return the points by the name of the image, as written.

    JSON: `{"a.jpg": [[x, y], ...], ...}`, or for each image an object with the key `points`; an image without people
    has an empty list. CSV: the header `image,x,y` (more columns are passed over, a semicolon separates as well) and a
    line for each head; an image without people has a line with nothing for x and y.

    Raises:
        InputError: the file is damaged or of another kind, or JSON with a name twice; names the line, or the image.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of points")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    raise InputError(f"{path}: the points of many images are one .json or one .csv file")


def _read_json(path: Path) -> dict[str, Entry]:
    table = json_of(path, unique=True)
    if not isinstance(table, dict):
        raise InputError(f'{path}: expected {{"a.jpg": [[x, y], ...], ...}}, found {type(table).__name__} at the top')
    return {name: Entry(_points_of(path, name, value), f"key {name!r}") for name, value in table.items()}


def _points_of(path: Path, name: str, value: object) -> Points:
    rows = value.get("points") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise InputError(f"{path}: key {name!r} holds {str(value)[:80]}, expected a list of [x, y], or of 'points'")
    try:
        return checked_points(path, rows)
    except InputError as error:
        raise InputError(f"{error} (key {name!r})") from error


def _read_csv(path: Path) -> dict[str, Entry]:
    places: dict[str, str] = {}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for line, name, words in _rows(path):
        places.setdefault(name, f"line {line}")
        heads = pairs.setdefault(name, [])
        if any(words):
            heads.append(pair_of(path, line, words))
    return {name: Entry(checked_points(path, heads), places[name]) for name, heads in pairs.items()}


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the line, the name of the image and the words of x and y."""
    lines = text_of(path).splitlines()
    reader = csv.reader(lines, delimiter=";" if lines and ";" in lines[0] else ",")
    header = [word.strip().lower() for word in next(reader, [])]
    if not set(_COLUMNS) <= set(header):
        shown = (lines or [""])[0][:80]
        raise InputError(f"{path}: line 1 is {shown!r}, expected a header with the columns {', '.join(_COLUMNS)}")
    image, x, y = (header.index(name) for name in _COLUMNS)
    try:
        for fields in reader:
            if not any(word.strip() for word in fields):
                continue
            if len(fields) <= max(image, x, y) or not fields[image].strip():
                shown = ",".join(fields)[:80]
                raise InputError(f"{path}: line {reader.line_num} is {shown!r}, expected image, x and y")
            yield reader.line_num, fields[image].strip(), [fields[x].strip(), fields[y].strip()]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is not readable as CSV ({error}); correct it") from error
