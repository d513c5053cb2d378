"""Shared functions of adapters with JSON annotations: tables by name, points and texts of their entries."""

from pathlib import Path
from typing import Any

from crowdcount.data.annotations.common_formats import checked_points
from crowdcount.errors import InputError, about
from crowdcount.files import read_json
from crowdcount.geometry import Points

_AGAIN = "correct it, or copy the file again from the original archive"


def load_table(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object at the top of a JSON file.

    Args:
        path: the file.
        remedy: advice if there is no such file, for the message.

    Raises:
        InputError: if the file is missing, damaged or not an object.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}", path)
    with about(path):
        table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected an object at the top, found {type(table).__name__}; {_AGAIN}", path)
    return table


def get_entry(path: Path, table: dict[str, Any], key: str, owner: str) -> dict[str, Any]:
    """Return the object under `key` in a table.

    Args:
        path: the file of the table, for the messages.
        table: the table.
        key: key of the entry.
        owner: description of the key, for the messages.

    Raises:
        InputError: if there is none, or it is not an object.
    """
    if key not in table:
        raise InputError(f"{path}: holds no annotation of {owner}; restore it, or take it off the split's list", path)
    entry = table[key]
    if not isinstance(entry, dict):
        raise InputError(
            f"{path}: the annotation of {owner} is {str(entry)[:80]!r}, expected an object; {_AGAIN}", path
        )
    return entry


def entry_points(path: Path, entry: dict[str, Any], owner: str) -> Points:
    """Return the list `points` of an entry.

    Args:
        path: the file, for the messages.
        entry: entry with `points`, a list of x, y pairs.
        owner: description of the annotated image, for the messages.

    Raises:
        InputError: if there is none, or it holds anything but finite pairs.
    """
    if "points" not in entry:
        raise InputError(f"{path}: the annotation of {owner} has no 'points'; {_AGAIN}", path)
    try:
        return checked_points(path, entry["points"])
    except InputError as error:
        raise InputError(f"{error} (annotation of {owner})") from error


def entry_text(path: Path, entry: dict[str, Any], key: str, owner: str) -> str:
    """Return the text under `key` in an entry; empty if it is missing or null.

    Raises:
        InputError: if it is not a text.
    """
    words = entry.get(key)
    if words is None:
        return ""
    if not isinstance(words, str):
        raise InputError(f"{path}: {key!r} of {owner} is {str(words)[:80]!r}, expected text; {_AGAIN}", path)
    return words
