"""Text files of numbers separated by commas."""

from collections.abc import Iterator
from pathlib import Path

from crowdcount.errors import InputError
from crowdcount.files import read_text
from crowdcount.json_fields import as_number


def read_lines(file: Path, widths: tuple[int, ...], fields: str) -> Iterator[tuple[str, list[float]]]:
    """Yield the location and the numbers of each line that is not empty.

    Args:
        file: the file.
        widths: numbers of columns that are allowed.
        fields: names of the columns, for the message.

    Raises:
        InputError: if a line has another number of columns, or anything but numbers.
    """
    for i, line in enumerate(read_text(file).splitlines(), 1):
        words = line.strip().rstrip(",").split(",")
        place = f"{file}: line {i}"
        if not line.strip():
            continue
        if len(words) not in widths:
            raise InputError(f"{place} is {line[:80]!r}, expected {fields}; is this the right format?")
        yield place, [as_number(f"{place}: column {n}", word) for n, word in enumerate(words, 1)]


def frame_name(frame: float, images: frozenset[str] | None, digits: int) -> str:
    """Return the name of the image of a frame without suffix, with as many digits as the images here have."""
    names = [f"{int(frame):0{n}d}" for n in (digits, 7, 6, 5, 8, 4)]
    return next((name for name in names if images is not None and name in images), names[0])
