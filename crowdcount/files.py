"""Files that are complete or absent, and texts read with errors that name the line."""

import json
import os
from pathlib import Path

from crowdcount.errors import InputError


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside its own and rename it, so that no half of it is ever seen.

    Args:
        path: its folder is made where it is missing; an older file is replaced.
        content: bytes, or text to be written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        InputError: it cannot be read, or is not text; names the line of the first byte that is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", path) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not text in UTF-8; save the file in this encoding") from error


def read_json(path: Path, unique: bool = False) -> object:
    """Return what a JSON file holds.

    Args:
        path: the file.
        unique: refuse an object with a key that is repeated; JSON itself lets the last one hold.

    Raises:
        InputError: it is not JSON; names line and column. A key is repeated.
    """

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table: dict[str, object] = {}
        for key, value in pairs:
            if key in table:
                raise InputError(f"{path}: has the key {key!r} twice; keep the one that holds")
            table[key] = value
        return table

    try:
        return json.loads(read_text(path), object_pairs_hook=once if unique else None)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and thousands of brackets
        raise InputError(f"{path}: not readable as JSON ({error}); correct it, or copy it again") from error
