"""Point tables: JSON, CSV or MATLAB files with the points of many images by name."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from crowdcount.data.annotations.common_formats import checked_points, load_mats
from crowdcount.data.annotations.mall_frames import FRAME, frame_points, load_frames
from crowdcount.data.annotations.point_file import parse_pair
from crowdcount.errors import InputError
from crowdcount.files import read_json, read_text
from crowdcount.geometry import Points
from crowdcount.local_path import spelled_as

_COLUMNS = ("image", "x", "y")


class Entry(NamedTuple):
    """The points of one image in a table.

    Attributes:
        points: (N, 2) as written.
        place: first occurrence of the image in the file, for messages.
    """

    points: Points
    place: str


def read_table(path: Path) -> dict[str, Entry]:
    """Return the points by name of the image, as written.

    JSON: `{"a.jpg": [[x, y], ...], ...}`, or an object with the key `points` for each image; an image without people
    has an empty list. CSV: the header `image,x,y` (further columns are ignored, semicolons are also separators) and a
    line for each head; an image without people has a line with empty x and y. MATLAB: the file of Mall, whose frames
    are called `seq_000001.jpg` and so on.

    Raises:
        InputError: if the file is damaged or of another format, or a JSON name is repeated; the message names the line
            or the image.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of points")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if path.suffix.lower() == ".mat":
        frames = load_frames(path)
        numbers = range(1, frames.shape[1] + 1)
        return {FRAME.format(n): Entry(frame_points(path, frames, n), f"frame {n}") for n in numbers}
    raise InputError(f"{path}: the points of many images are one .json or one .csv file, or mall_gt.mat")


def is_table(path: Path) -> bool:
    """Return whether a file is a point table, as opposed to the point file of a single image.

    Raises:
        InputError: if the file is damaged.
    """
    if path.suffix.lower() == ".json":
        top = read_json(path, unique=True)
        return isinstance(top, dict) and "points" not in top
    if path.suffix.lower() == ".mat":
        return "frame" in load_mats(path, "frame")
    return path.suffix.lower() == ".csv" and set(_COLUMNS) <= set(_header((read_text(path).splitlines() or [""])[0]))


def image_keys(picture: Path, folder: Path) -> set[str]:
    """Return the names of an image in a table in a folder: its name, and its path with and without `images`."""
    if not picture.is_relative_to(folder):
        return {picture.name}
    path = picture.relative_to(folder)
    return {picture.name, path.as_posix(), PurePosixPath(*(part for part in path.parts if part != "images")).as_posix()}


def table_points(picture: Path, path: Path, table: Mapping[str, Entry]) -> Points:
    """Return the points (N, 2) of an image in a table, which may include other images that do not exist.

    Args:
        picture: path of the image.
        path: file of the table.
        table: table returned by `read_table`.

    Raises:
        InputError: if the table does not name the image, or names it twice.
    """
    names = image_keys(picture.absolute(), path.absolute().parent)
    found = [name for name in table if spelled_as(PurePosixPath(name.replace("\\", "/")).as_posix(), names) in names]
    if not found:
        raise InputError(f"{path}: names no points of {picture}; an image without people is named, too")
    if len(found) > 1:
        raise InputError(f"{path}: {found[0]!r} and {found[1]!r} may both be {picture}; keep one")
    return table[found[0]].points


def _read_json(path: Path) -> dict[str, Entry]:
    table = read_json(path, unique=True)
    if not isinstance(table, dict):
        raise InputError(f'{path}: expected {{"a.jpg": [[x, y], ...], ...}}, found {type(table).__name__} at the top')
    return {name: Entry(_parse_points(path, name, value), f"key {name!r}") for name, value in table.items()}


def _parse_points(path: Path, name: str, value: object) -> Points:
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
            heads.append(parse_pair(path, line, words))
    return {name: Entry(checked_points(path, heads), places[name]) for name, heads in pairs.items()}


def _header(line: str) -> list[str]:
    return [word.strip().strip('"').lower() for word in line.split(_delimiter(line))]


def _delimiter(line: str) -> str:
    return ";" if ";" in line else ","


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the line number, the name of the image and the words of x and y."""
    first, *lines = read_text(path).splitlines() or [""]
    header = _header(first)
    if not set(_COLUMNS) <= set(header):
        raise InputError(f"{path}: line 1 is {first[:80]!r}, expected a header with the columns {', '.join(_COLUMNS)}")
    image, x, y = (header.index(name) for name in _COLUMNS)
    reader = csv.reader(lines, delimiter=_delimiter(first))
    try:
        for fields in reader:
            if not any(word.strip() for word in fields):
                continue
            if len(fields) <= max(image, x, y) or not fields[image].strip():
                shown = ",".join(fields)[:80]
                raise InputError(f"{path}: line {reader.line_num + 1} is {shown!r}, expected image, x and y")
            yield reader.line_num + 1, fields[image].strip(), [fields[x].strip(), fields[y].strip()]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num + 1} is not readable as CSV ({error}); correct it") from error
