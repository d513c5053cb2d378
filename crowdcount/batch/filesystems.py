"""Files here and in object stores, by path or address."""

import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import fsspec
import pyarrow as pa
from pyarrow import fs

from crowdcount.errors import InputError
from crowdcount.local_path import is_address, local_path

logger = logging.getLogger(__name__)

_PARTS: Final = re.compile(r"([a-z][a-z0-9+.-]+://[^/?]*)([^?]*)(\?.*)?", re.IGNORECASE | re.DOTALL)
_AT_ONCE: Final = 1000
"""Files that a store is asked about in one call."""


class State(NamedTuple):
    """Size in bytes and time of change in nanoseconds (0 in stores without), by which a changed file is known."""

    size: int
    modified: int


def joined(folder: str, name: str) -> str:
    """Return the path or address of a file that a list or table in a folder names.

    Example:
        >>> joined("s3://bucket/lists", "a.jpg"), joined("lists", "s3://bucket/a.jpg")
        ('s3://bucket/lists/a.jpg', 's3://bucket/a.jpg')
    """
    if is_address(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else str(Path(folder) / name)


def folder_of(name: str) -> str:
    """Return the folder of a file, as a path or address."""
    return name.rsplit("/", 1)[0] if is_address(name) else str(Path(name).parent)


def resolve(name: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or address, and the path in it.

    Raises:
        InputError: nothing installed reads this kind of address, or the store refuses.
    """
    if not is_address(name):
        return fs.LocalFileSystem(), str(local_path(name).absolute())
    parts = _PARTS.fullmatch(name)
    assert parts is not None, "every address has these parts"
    root, path, query = parts.groups(default="")
    try:
        filesystem, base = _store(root + query if query else root)
    except Exception as error:  # the libraries of object stores raise nearly anything
        raise InputError(
            f"{name}: cannot be opened ({reason(error)}); check the address and the credentials, and install the "
            "package of this store, such as gcsfs, where the message names it"
        ) from error
    return filesystem, base.rstrip("/") + path


@lru_cache(maxsize=64)
def _store(root: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address without its path, and how its paths begin: pyarrow's, or else fsspec's."""
    try:
        filesystem, base = fs.FileSystem.from_uri(root if root.split("://")[1] else f"{root}/")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a kind of address that pyarrow does not know
        found, base = fsspec.core.url_to_fs(root)
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(found))
    return filesystem, base


def reason(error: Exception) -> str:
    """Return what an error says, in a line."""
    return " ".join(str(error).split()) or type(error).__name__


def read_bytes(name: str) -> bytes:
    """Return the content of a file in a store.

    Raises:
        InputError: it cannot be read.
    """
    filesystem, path = resolve(name)
    try:
        with filesystem.open_input_file(path) as file:
            data: bytes = file.readall()
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such image") from error
    except Exception as error:  # as above
        raise InputError(f"{name}: cannot be read ({reason(error)})") from error
    return data


def list_files(address: str) -> Iterator[tuple[str, State]]:
    """Yield the addresses of all files below a prefix, sorted, with their states; hidden ones do not count.

    Raises:
        InputError: there is no such prefix, or it cannot be listed.
    """
    filesystem, path = resolve(address)
    try:
        found = filesystem.get_file_info(path)
        if found.type is fs.FileType.File:
            yield address, _state(found)
            return
        listed = filesystem.get_file_info(fs.FileSelector(path.rstrip("/"), recursive=True))
    except Exception as error:  # as above
        raise InputError(f"{address}: cannot be listed ({reason(error)})") from error
    start = len(path.rstrip("/")) + 1
    inside = ((info.path[start:], info) for info in listed if info.type is fs.FileType.File)
    for name, info in sorted(inside, key=lambda each: each[0]):
        if not any(part.startswith((".", "_")) for part in name.split("/")):
            yield f"{address.rstrip('/')}/{name}", _state(info)


def states(names: Sequence[str]) -> Iterator[State | None]:
    """Yield the states of files, None for those that are not there or cannot be asked about."""
    for start in range(0, len(names), _AT_ONCE):
        for root, some in groupby(names[start : start + _AT_ONCE], _root):
            together = list(some)
            yield from _store_states(together) if root else map(_local_state, together)


def _root(name: str) -> str:
    """Return the part of an address that names the store, nothing of a path."""
    parts = _PARTS.fullmatch(name)
    return parts[1] if parts else ""


def _local_state(name: str) -> State | None:
    try:
        found = Path(name).stat()
    except (OSError, ValueError):
        return None
    return State(found.st_size, found.st_mtime_ns)


def _store_states(names: Sequence[str]) -> list[State | None]:
    """Return the states of files of one store, asked for together, and singly where one of them spoils the answer.

    A file that cannot be asked about is warned of: without a state nobody knows whether it has changed.
    """
    try:
        return _asked(names)
    except Exception:  # the libraries of object stores raise nearly anything, for one file of a thousand
        found, refused = list[State | None](), list[str]()
    for name in names:
        try:
            found += _asked([name])
        except Exception as error:  # as above
            found.append(None)
            refused.append(f"{name} ({reason(error)})")
    if refused:
        logger.warning(
            "%d files of a store do not tell their size and time, such as %s; those that can be read are counted anew "
            "by each call that resumes",
            len(refused),
            refused[0],
        )
    return found


def _asked(names: Sequence[str]) -> list[State | None]:
    filesystem, _ = resolve(names[0])
    found = filesystem.get_file_info([resolve(name)[1] for name in names])
    return [_state(info) if info.type is fs.FileType.File else None for info in found]


def place(name: str) -> tuple[str, str]:
    """Return the store and the path in it of a file or folder, the same for each of its names.

    Example:
        >>> place("memory://bucket/a/") == place("memory://bucket/a"), place("file:///a/../b") == place("/b")
        (True, True)
    """
    filesystem, path = resolve(name)
    if isinstance(filesystem, fs.LocalFileSystem):
        return "", str(Path(path).resolve())
    return _root(name), path.rstrip("/")


def _state(info: fs.FileInfo) -> State:
    return State(info.size or 0, info.mtime_ns or 0)
