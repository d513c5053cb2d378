"""Submission files of NWPU-Crowd's counting and localisation benchmarks, and checks of their format."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from crowdcount.errors import InputError
from crowdcount.evaluation.harness import ImageResult
from crowdcount.files import atomic_write

_WHOLE = re.compile(r"0|[1-9]\d*")


def count_submission(results: Sequence[ImageResult]) -> str:
    """Return the counting file: a line `id count` for each image, without header and final line break."""
    return "\n".join(f"{result.name} {result.predicted!r}" for result in results)


def localisation_submission(results: Sequence[ImageResult]) -> str:
    """Return the localisation file: a line `id n x1 y1 x2 y2 ...` in whole pixels for each image."""
    lines = []
    for result in results:
        numbers = [len(result.points), *result.points.flatten().tolist()]
        lines.append(" ".join(map(str, [result.name, *numbers])))
    return "\n".join(lines)


def write_count_submission(path: Path, results: Sequence[ImageResult]) -> None:
    """Write a valid counting file.

    Raises:
        InputError: if it would be invalid; see `check_count_submission`.
    """
    text = count_submission(results)
    check_count_submission(path, text, [result.name for result in results])
    atomic_write(path, text)


def write_localisation_submission(path: Path, results: Sequence[ImageResult]) -> None:
    """Write a valid localisation file.

    Raises:
        InputError: if it would be invalid; see `check_localisation_submission`.
    """
    text = localisation_submission(results)
    check_localisation_submission(path, text, [result.name for result in results])
    atomic_write(path, text)


def check_ids(names: Sequence[str]) -> None:
    """Check that the names of images are valid ids of a submission: single words, all different.

    Raises:
        InputError: if one is not; the message names the image.
    """
    for name in names:
        if not re.fullmatch(r"\S+", name):
            raise InputError(f"{name!r}: a submission has one word for each image; rename it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice}: two images have this name; a submission needs one for each")


def check_count_submission(path: Path, text: str, ids: Sequence[str]) -> None:
    """Check a counting file: `id count` on each line, every id once and no other, finite counts.

    Args:
        path: path of the file, for the messages.
        text: content of the file.
        ids: ids of the images of the split.

    Raises:
        InputError: if a line is invalid or missing; the message names it.
    """
    for number, words in _lines(path, text, ids):
        if len(words) != 2:
            raise InputError(f"{path}: line {number} has {len(words)} fields, expected 'id count'")
        try:
            count = float(words[1])
        except ValueError:
            count = math.nan
        if not math.isfinite(count):
            raise InputError(f"{path}: line {number} gives {words[1]!r} as a count; expected a finite number")


def check_localisation_submission(path: Path, text: str, ids: Sequence[str]) -> None:
    """Check a localisation file: `id n`, then exactly n pairs of whole pixels; every id once and no other.

    Args:
        path: path of the file, for the messages.
        text: content of the file.
        ids: ids of the images of the split.

    Raises:
        InputError: if a line is invalid or missing; the message names it.
    """
    for number, words in _lines(path, text, ids):
        for word in words[1:]:
            if not _WHOLE.fullmatch(word):
                raise InputError(f"{path}: line {number} has {word!r}; expected whole numbers of 0 or more")
        if len(words) < 2 or len(words) != 2 + 2 * int(words[1]):
            raise InputError(f"{path}: line {number} has {len(words)} fields, expected 'id n' and n pairs 'x y'")


def _lines(path: Path, text: str, ids: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Return number and fields of each line, after checking the ids."""
    lines = [(number, line.split(" ")) for number, line in enumerate(text.removesuffix("\n").split("\n"), 1)]
    seen: set[str] = set()
    expected = set(ids)
    for number, (name, *_) in lines:
        if name not in expected:
            raise InputError(f"{path}: line {number} is of {name!r}, which is no image of the split")
        if name in seen:
            raise InputError(f"{path}: line {number} is of {name} again; give each image once")
        seen.add(name)
    if len(seen) < len(expected):
        missing = sorted(expected - seen)
        raise InputError(f"{path}: has no line of {missing[0]} ({len(missing)} images are missing)")
    return lines
