"""Values of JSON, XML and text exports: each is checked where it is used, and a wrong one is named."""

import math
from typing import Any, Final

from crowdcount.errors import InputError

_HUGE: Final = 1e9
"""No coordinate is as large; beyond, single precision would not tell pixels apart, and at last be infinite."""


def as_object(place: str, value: object) -> dict[str, Any]:
    """Return an object of JSON.

    Raises:
        InputError: the value is none; `place` says where it stands.
    """
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object {...}")
    return value


def as_list(place: str, value: object) -> list[Any]:
    """Return a list of JSON.

    Raises:
        InputError: the value is none.
    """
    if not isinstance(value, list):
        raise _wrong(place, value, "a list [...]")
    return value


def as_text(place: str, value: object) -> str:
    """Return a text of JSON that is not empty.

    Raises:
        InputError: the value is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise _wrong(place, value, "text")
    return value


def as_numbers(place: str, value: object, count: int) -> list[float]:
    """Return a list of `count` finite numbers.

    Raises:
        InputError: the value is none.
    """
    values = as_list(place, value)
    if len(values) != count:
        raise _wrong(place, value, f"{count} numbers")
    return [as_number(f"{place}[{i}]", each) for i, each in enumerate(values)]


def get(place: str, entry: dict[str, Any], key: str) -> Any:
    """Return what an object holds under a key.

    Raises:
        InputError: it has no such key.
    """
    if key not in entry:
        raise InputError(f"{place}: has no {key!r}, only {', '.join(map(repr, entry)) or 'nothing'}")
    return entry[key]


def _wrong(place: str, value: object, expected: str) -> InputError:
    return InputError(f"{place} is {str(value)[:80]!r}, expected {expected}; is this the right format?")


def as_number(place: str, value: object) -> float:
    """Return a number of an export.

    Raises:
        InputError: it is none, or too large for one.
    """
    try:  # attributes of XML and words of text files are text
        result = math.nan if isinstance(value, bool) or not isinstance(value, int | float | str) else float(value)
    except (ValueError, OverflowError):
        result = math.nan
    if not abs(result) < _HUGE:
        raise InputError(f"{place} is {str(value)[:80]!r}, expected a number; correct it or take the entry out")
    return result


def image_size(place: str, width: object, height: object) -> tuple[int, int]:
    """Return the width and height in pixels that an export states.

    Raises:
        InputError: they are no sides of an image.
    """
    sides = as_number(f"{place}: width", width), as_number(f"{place}: height", height)
    if min(sides) < 1 or any(side != int(side) for side in sides):
        raise InputError(f"{place}: {width} x {height} is no size of an image in pixels; correct it")
    return int(sides[0]), int(sides[1])
