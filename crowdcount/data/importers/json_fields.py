"""Values of a JSON export: each is checked where it is used, and a wrong one is named."""

from typing import Any

from crowdcount.data.importers.annotated import number
from crowdcount.errors import InputError


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
    return [number(f"{place}[{i}]", each) for i, each in enumerate(values)]


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
