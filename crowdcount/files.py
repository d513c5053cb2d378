"""Atomic writing of files, and reading of text and JSON with errors that name the line."""

import errno
import json
import os
from pathlib import Path

from crowdcount.errors import InputError


def atomic_write(path: Path, content: bytes | memoryview | str, sync: bool = False) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen incomplete.

    Args:
        path: the file; its folder is created if necessary, and an existing file is replaced.
        content: bytes, or text that is written as UTF-8.
        sync: have the disk hold the new file before it replaces the old one, so that a power cut loses neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync and os.name == "posix":  # elsewhere folders cannot be opened
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Return whether a file has this path; no file has one that the system does not accept, such as 5,000 letters."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """Return whether a folder has this path; see `is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, error: OSError) -> InputError:
    """Return the error that says why a file or folder cannot be written, and what helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free space there, or choose another folder"
    elif error.errno == errno.EFBIG:
        remedy = "raise the limit of file sizes (ulimit -f)"
    else:
        remedy = "choose a folder that you may write to"
    return InputError(f"{path}: cannot be written ({error.strerror}); {remedy}", path)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark.

    Raises:
        InputError: if it cannot be read or decoded; the message names the line of the first invalid byte.
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
    """Return the content of a JSON file.

    Args:
        path: the file.
        unique: reject objects with a repeated key, of which JSON keeps the last.

    Raises:
        InputError: if it is not JSON (the message names line and column), or a key is repeated.
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
