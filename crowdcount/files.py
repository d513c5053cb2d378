"""Atomic writing of files, files that grow by lines, and reading of text and JSON with errors that name the line."""

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from crowdcount.errors import InputError

_LONGEST_LINE: Final = 2**20


def atomic_write(path: Path, content: bytes | memoryview | str, sync: bool = False) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen incomplete.

    Args:
        path: the file; its folder is created if necessary, and an existing file is replaced.
        content: bytes, or text, see `text_bytes`.
        sync: have the disk hold the new file before it replaces the old one, so that a power cut loses neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            file.write(text_bytes(content) if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync and os.name == "posix":  # elsewhere folders cannot be opened
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder of the same name that becomes `path` at the end of the block, or disappears.

    Args:
        path: the folder, which must be missing or empty; see `check_new_folder`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    above = Path(tempfile.mkdtemp(prefix=f".{path.name[:20]}.", suffix=".part", dir=path.parent))
    try:
        folder = above / path.name
        folder.mkdir()
        yield folder
        folder.replace(path)
    finally:
        shutil.rmtree(above, ignore_errors=True)


def check_new_folder(path: Path) -> None:
    """Check that a folder is missing or empty.

    Raises:
        InputError: it is not.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists; give --output a new folder")


def umask() -> int:
    """Return the permissions that the user withholds from new files."""
    mask = os.umask(0)  # it can be read by setting it alone
    os.umask(mask)
    return mask


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


def temporary_path(path: Path, suffix: str = ".part") -> Path:
    """Return a hidden name to write a file under; no longer than that of the file may be.

    It is another one each time: on a shared disk the processes of several machines have the same numbers.
    """
    return path.with_name(f".{path.stem[:20]}.{secrets.token_hex(8)}{suffix}")


def text_bytes(text: str) -> bytes:
    r"""Return text as UTF-8; half surrogates, as in names of files that are not UTF-8, are escaped.

    Example:
        >>> text_bytes("caf\udce9, café")
        b'caf\\udce9, caf\xc3\xa9'
    """
    return text.encode(errors="backslashreplace")


def printable(text: str) -> str:
    r"""Return text with half surrogates escaped, which few libraries take; see `text_bytes`.

    Example:
        >>> printable("caf\udce9")
        'caf\\udce9'
    """
    return text_bytes(text).decode()


class LineFile:
    r"""A text file that grows by whole lines, each handed to the system as soon as it is there.

    Whatever ends the process, the file holds the lines so far and no part of another. Lines that cannot be written,
    such as on a full disk, are kept and tried again with the next one and at the end. The file begins with the first of
    them; one that is there is replaced then.

        with LineFile(Path("table.csv"), "image,count\n") as table:
            table.append("a.jpg,12.5\n")

    Args:
        path: of the file.
        start: the first lines.
        keep: go on behind the lines of a file that is there, in place of replacing it; a half line at its end, as a
            kill may leave it, is cut off.
        most_waiting: limit in bytes of the lines that are kept; beyond it the oldest are lost. None for none.

    Attributes:
        lost: number of lines lost.
    """

    def __init__(self, path: Path, start: str = "", keep: bool = False, most_waiting: int | None = None) -> None:
        self.path, self._start, self._keep, self._most_waiting = path, start, keep, most_waiting
        self.lost = 0
        self._file: FileIO | None = None
        self._waiting = b""

    def append(self, line: str = "") -> None:
        """Append a line; the first time, begin the file.

        Raises:
            OSError: it cannot be written now.
        """
        self._waiting += text_bytes(line)
        try:
            self._write(self._opened())
        except OSError:
            self._forget()
            raise

    def _opened(self) -> FileIO:
        if self._file is None:
            if not (self._keep and is_file(self.path)):
                atomic_write(self.path, self._start)
            self._file = FileIO(self.path, "ab+")
            if self._keep:
                self._cut_half_line(self._file)
        return self._file

    def _cut_half_line(self, file: FileIO) -> None:
        start = max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE)
        file.seek(start)
        file.truncate(start + file.readall().rfind(b"\n") + 1)

    def _write(self, file: FileIO) -> None:
        size = os.fstat(file.fileno()).st_size
        try:
            while self._waiting:
                self._waiting = self._waiting[file.write(self._waiting) or 0 :]
        except OSError:
            self._waiting = self._pull_back(file, size) + self._waiting
            raise

    def _forget(self) -> None:
        while self._most_waiting is not None and len(self._waiting) > self._most_waiting:
            self._waiting = self._waiting.partition(b"\n")[2]
            self.lost += 1

    def _pull_back(self, table: FileIO, size: int) -> bytes:
        """Cut the file at a size, so that no half line is left, and return what was cut off."""
        with self.path.open("rb") as file:
            file.seek(size)
            written = file.read()
        table.truncate(size)
        return written

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: lines are still waiting.
        """
        try:
            if self._waiting:
                self.append()
        finally:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


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
    return parse_json(read_text(path), str(path), unique)


def parse_json(text: str, name: str, unique: bool = False) -> object:
    """Return the content of a JSON text; see `read_json`.

    Args:
        text: the text.
        name: of its source, for messages.
        unique: see `read_json`.

    Raises:
        InputError: see `read_json`.
    """

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table: dict[str, object] = {}
        for key, value in pairs:
            if key in table:
                raise InputError(f"{name}: has the key {key!r} twice; keep the one that holds")
            table[key] = value
        return table

    try:
        return json.loads(text, object_pairs_hook=once if unique else None)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and thousands of brackets
        raise InputError(f"{name}: not readable as JSON ({error}); correct it, or copy it again") from error
