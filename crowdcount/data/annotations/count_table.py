"""Tables of images and their true counts, typed by a person or written by a spreadsheet."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.json_fields import as_number

_COLUMNS: Final = ("image", "count", "window")


@dataclass(frozen=True)
class CountedFile:
    """An image and its true count.

    Attributes:
        name: as in the table.
        path: the file.
        count: number of people in it, 0 or more.
        window: name of the window of a video that the frame belongs to; empty for single images.
    """

    name: str
    path: Path
    count: float
    window: str = ""


def read_counts(path: Path) -> list[CountedFile]:
    """Read a CSV file with the columns image and count, and optionally window; further columns are left out.

    Names are relative to the folder of the table. Cells are separated by commas, semicolons or tabs. Without a header
    the first two columns are image and count.

    Raises:
        InputError: it cannot be read, has no such column or no rows, an image is missing or named twice, or a count is
            not a number of 0 or more; the message names the line.
    """
    lines = read_text(path).splitlines()
    first = lines[0] if lines else ""
    separator = next((mark for mark in ("\t", ";") if mark in first), ",")
    rows = [row for row in csv.reader(lines, delimiter=separator)]
    columns = _columns(path, rows[0]) if rows else {}
    start = 0 if columns == {"image": 0, "count": 1} and _is_number(rows[0][1]) else 1
    found = list(_files(path, rows, start, columns))
    if not found:
        raise InputError(f"{path}: has no rows; give one for each image: its name, and the number of people in it")
    seen: dict[str, CountedFile] = {}
    for each in found:
        if seen.setdefault(each.name, each) is not each:
            raise InputError(f"{path}: names {each.name} twice; keep one line")
    return found


def _columns(path: Path, head: list[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in head]
    if {"image", "count"} <= set(names):
        return {name: names.index(name) for name in _COLUMNS if name in names}
    if len(head) > 1 and _is_number(head[1]):
        return {"image": 0, "count": 1}
    raise InputError(f"{path}: line 1 is {', '.join(head)[:80]!r}, expected the columns image and count")


def _is_number(text: str) -> bool:
    return text.strip().replace(".", "", 1).isdecimal()


def _files(path: Path, rows: list[list[str]], start: int, columns: dict[str, int]) -> Iterator[CountedFile]:
    for line, row in enumerate(rows[start:], start + 1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(columns.values()):
            raise InputError(f"{path}: line {line} has {len(row)} cells, expected at least {max(columns.values()) + 1}")
        cells = {name: row[column].strip() for name, column in columns.items()}
        count = as_number(f"{path}: line {line}: count", cells["count"])
        file = path.parent / cells["image"]
        if count < 0:
            raise InputError(f"{path}: line {line}: count {count:g} is below 0; correct it or take the line out")
        if not file.is_file():
            raise InputError(f"{path}: line {line}: there is no image {file}; names are relative to the table")
        yield CountedFile(cells["image"], file, count, cells.get("window", ""))
