"""Shared parts of adapters with JSON annotations: tables by name, and the points and texts of their entries."""

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
        remedy: what to do when there is no such file, for the message.

    Raises:
        InputError: the file is missing, damaged or no object.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}", path)
    with about(path):
        table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected an object at the top, found {type(table).__name__}; {_AGAIN}", path)
    return table


def get_entry(path: Path, table: dict[str, Any], key: str, owner: str) -> dict[str, Any]:
    """Return the object that a table holds under `key`.

    Args:
        path: the file of the table, for the messages.
        table: where to look.
        key: what to look for.
        owner: what the key is, in words, for the messages.

    Raises:
        InputError: there is none, or it is no object.
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
        entry: what holds `points`, a list of x, y pairs.
        owner: what the entry annotates, in words, for the messages.

    Raises:
        InputError: there is none, or it holds anything but finite pairs.
    """
    if "points" not in entry:
        raise InputError(f"{path}: the annotation of {owner} has no 'points'; {_AGAIN}", path)
    try:
        return checked_points(path, entry["points"])
    except InputError as error:
        raise InputError(f"{error} (annotation of {owner})") from error


def entry_text(path: Path, entry: dict[str, Any], key: str, owner: str) -> str:
    """Return the text that an entry holds under `key`; empty where it is left out or null.

    Raises:
        InputError: it is no text.
    """
    words = entry.get(key)
    if words is None:
        return ""
    if not isinstance(words, str):
        raise InputError(f"{path}: {key!r} of {owner} is {str(words)[:80]!r}, expected text; {_AGAIN}", path)
    return words
