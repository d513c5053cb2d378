"""Point files of single images in common formats, found by name and read by suffix."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.lib import format as npy_format

from crowdcount.data.annotations.common_formats import are_finite, checked_points, load_mat, mat_location
from crowdcount.errors import InputError
from crowdcount.files import read_json, read_text
from crowdcount.geometry import Points
from crowdcount.json_fields import parse_number
from crowdcount.local_path import local_path
from crowdcount.plausibility import check_columns

ANNOTATIONS: Final = ("GT_{}.mat", "{}_ann.mat", "{}.mat", "{}.npy", "{}.json", "{}.txt", "{}.csv")
"""Names of the point file of an image; {} is the image name without suffix."""


def find_annotation(image: Path, annotation: Path) -> Path:
    """Return the annotation file of an image: the annotation itself, or the matching file if it is a folder.

    Raises:
        InputError: if there is none, or there are several.
    """
    if not annotation.is_dir():
        return annotation
    names = [name.format(image.stem) for name in ANNOTATIONS]
    found = [path for name in names if (path := local_path(annotation / name)).is_file()]
    if not found:
        raise InputError(f"{image}: no annotation in {annotation}; looked for {', '.join(names)}")
    if len(found) > 1:
        raise InputError(f"{image}: {found[0].name} and {found[1].name} in {annotation}; keep the one that holds")
    return found[0]


def read_points(path: Path) -> Points:
    """Read the points (N, 2) of an annotation file.

    Formats: `.mat` of ShanghaiTech, UCF-QNRF or NWPU, `.npy` of shape (N, 2), `.json` with a key `points`, `.txt` and
    `.csv` with x and y first on each line, separated by blanks, commas or semicolons. Further columns are ignored, and
    a first line that names x and y is a header. A text file that is empty or has only a header is an image without
    people.

    Raises:
        InputError: if the file is missing, damaged or of an unknown format, its lines are YOLO boxes or begin with a
            class, or its numbers may have decimal commas.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such annotation")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: annotations are {', '.join(_READERS)} files")
    return checked_points(path, reader(path))


def parse_pair(path: Path, number: int, words: list[str]) -> tuple[float, float]:
    """Return the x and y in two words of a line.

    Raises:
        InputError: if they are not numbers; the message names the line.
    """
    x, y = (parse_number(word) for word in words) if len(words) == 2 else (np.nan, np.nan)
    if not are_finite([x, y]):
        shown = " ".join(words)[:80]
        raise InputError(f"{path}: line {number} has {shown!r}, expected the numbers x and y of one head; correct it")
    return x, y


def _mat(path: Path) -> object:
    """Read the points of ShanghaiTech (`image_info`), UCF-QNRF or NWPU (`annPoints`)."""
    value = load_mat(path, "image_info", "annPoints")
    return mat_location(path, value) if value.dtype == object or value.dtype.names else value


def _npy(path: Path) -> object:
    try:
        with path.open("rb") as file:
            _check_size(file, path.stat().st_size)
            file.seek(0)
            return np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged file raises nearly anything: ValueError, EOFError, TokenError, ...
        raise InputError(f"{path}: not a readable array ({error}); write it again with numpy.save") from error


def _check_size(file: BinaryIO, size: int) -> None:
    """Check that an array has the bytes that its header promises, before memory is taken for it.

    Raises:
        ValueError: if it has not.
    """
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > size - file.tell():
        raise ValueError(f"an array of shape {shape} in {size} bytes")


def _json(path: Path) -> object:
    value = read_json(path, unique=True)
    if not isinstance(value, dict) or "points" not in value:
        raise InputError(f"{path}: has no key 'points' at the top; expected {{\"points\": [[x, y], ...]}}")
    return value["points"]


def _lines(path: Path) -> list[tuple[float, float]]:
    """Read x and y from each line; further columns are ignored."""
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    headed = bool(lines and re.match(r"\W*x\W+y\b", lines[0][1], re.IGNORECASE))
    lines = lines[headed:]
    rows = [(number, line, re.split(r"\s*[,;]\s*|\s+", line)) for number, line in lines]
    if rows and all(_is_box(words) for _, _, words in rows):
        number, line, _ = rows[0]
        raise InputError(
            f"{path}: line {number} is {line[:80]!r}, and all lines look like YOLO labels: class and box in fractions "
            "of the image; let crowdcount dataset import yolo make points of them"
        )
    if not headed:
        check_columns(str(path), [(f"line {number}", words) for number, _, words in rows])
    for number, line, words in rows:
        if _may_have_decimal_commas(line, words):
            raise InputError(
                f"{path}: line {number} is {line[:80]!r}, whose commas may separate numbers or be part of them; write "
                "1.5 2.5 or 1.5,2.5"
            )
    return [parse_pair(path, number, words[:2]) for number, _, words in rows]


def _is_box(words: list[str]) -> bool:
    """Return whether a line is an integer and at least four numbers from 0 to 1, the centre and size of a box."""
    rest = [parse_number(word) for word in words[1:]]
    return words[0].isascii() and words[0].isdigit() and len(rest) >= 4 and all(0 <= value <= 1 for value in rest)


def _may_have_decimal_commas(line: str, words: list[str]) -> bool:
    """Return whether a line has commas inside words, blanks or semicolons between them, and too many numbers."""
    inside, between = re.search(r"[^\s,;],[^\s,;]", line), re.search(r"[^\s,;](\s+|\s*;\s*)[^\s,;]", line)
    return bool(inside and between) and sum(not np.isnan(parse_number(word)) for word in words) > 2


_READERS: Final[dict[str, Callable[[Path], object]]] = {
    ".mat": _mat,
    ".npy": _npy,
    ".json": _json,
    ".txt": _lines,
    ".csv": _lines,
}
