"""Folders that one call at a time writes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from crowdcount.errors import InputError

LOCK: Final = ".crowdcount.lock"
"""Name of the file that is locked."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other calls from writing to a folder, which is made where it is missing.

    Raises:
        InputError: another call writes to it.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"--output: another call writes to {folder}; wait for its end, or give another folder"
        ) from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is held
        lock.release()
