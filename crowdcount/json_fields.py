"""Checked access to the values of JSON, XML and text exports, with errors that name the value."""

import math
import re
from typing import Any, Final

from crowdcount.errors import InputError

_HUGE: Final = 1e9
"""Upper limit of coordinates, far beyond any image; larger ones exceed the resolution of single precision."""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def as_object(place: str, value: object) -> dict[str, Any]:
    """Return a value that is a JSON object.

    Raises:
        InputError: if it is not; `place` names its location in the message.
    """
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object {...}")
    return value


def as_list(place: str, value: object) -> list[Any]:
    """Return a value that is a JSON list.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, list):
        raise _wrong(place, value, "a list [...]")
    return value


def as_text(place: str, value: object) -> str:
    """Return a value that is a non-empty string.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, str) or not value.strip():
        raise _wrong(place, value, "text")
    return value


def as_numbers(place: str, value: object, count: int) -> list[float]:
    """Return a value that is a list of `count` finite numbers.

    Raises:
        InputError: if it is not.
    """
    values = as_list(place, value)
    if len(values) != count:
        raise _wrong(place, value, f"{count} numbers")
    return [as_number(f"{place}[{i}]", each) for i, each in enumerate(values)]


def get(place: str, entry: dict[str, Any], key: str) -> Any:
    """Return the value of a key of an object.

    Raises:
        InputError: if there is no such key.
    """
    if key not in entry:
        raise InputError(f"{place}: has no {key!r}, only {', '.join(map(repr, entry)) or 'nothing'}")
    return entry[key]


def _wrong(place: str, value: object, expected: str) -> InputError:
    return InputError(f"{place} is {str(value)[:80]!r}, expected {expected}; is this the right format?")


def parse_number(word: str) -> float:
    """Return the decimal number in a word; NaN if there is none.

    Unlike `float`, it takes neither `1_000` nor digits other than 0 to 9.

    Example:
        >>> parse_number("-1.5e2"), parse_number("1_000")
        (-150.0, nan)
    """
    return float(word) if _NUMBER.fullmatch(word.strip()) else math.nan


def as_number(place: str, value: object) -> float:
    """Return a value of an export as a number.

    Raises:
        InputError: if it is not a number, or too large.
    """
    try:
        if isinstance(value, str):  # attributes of XML and words of text files
            result = parse_number(value)
        else:
            result = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        result = math.nan
    if not abs(result) < _HUGE:
        raise InputError(f"{place} is {str(value)[:80]!r}, expected a number; correct it or take the entry out")
    return result


def image_size(place: str, width: object, height: object) -> tuple[int, int]:
    """Return the width and height in pixels given by an export.

    Raises:
        InputError: if they are not positive integers.
    """
    sides = as_number(f"{place}: width", width), as_number(f"{place}: height", height)
    if min(sides) < 1 or any(side != int(side) for side in sides):
        raise InputError(f"{place}: {width} x {height} is no size of an image in pixels; correct it")
    return int(sides[0]), int(sides[1])
