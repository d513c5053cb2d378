"""Extraction, checks and atomic copies of weights files."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from safetensors import SafetensorError, safe_open

from crowdcount.errors import InputError
from crowdcount.weights.download import require_space
from crowdcount.weights.file_kind import mistaken_kind
from crowdcount.weights.index import Format

_CHUNK = 1 << 20
_MEMBERS = 10_000
_SHOWN = 10


class Damaged(InputError):
    """Error for a damaged file, which cannot be used."""


def extract(archive: Path, pattern: str, path: Path, source: str) -> None:
    """Extract the file whose name matches a shell pattern from a .tar or .tgz archive.

    Args:
        archive: the archive.
        pattern: the shell pattern.
        path: where the file is written.
        source: name of the archive in messages.

    Raises:
        Damaged: if the archive is damaged.
        InputError: if it does not hold exactly one such file (the message lists its files), or the disk is full.
    """
    try:
        with _unpacked(archive) as stream, tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            files = [member for member in _members(tar) if member.isfile()]
            while stream.read(_CHUNK):  # the checksum stands behind the last file
                pass
            chosen = [member for member in files if fnmatchcase(PurePosixPath(member.name).name, pattern)]
            if len(chosen) != 1:
                names = ", ".join(member.name[:80] for member in files[:_SHOWN]) or "nothing"
                more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
                raise InputError(
                    f"{source}: {len(chosen)} files in it are called {pattern}; it holds {names}{more}. Unpack it "
                    "yourself, and give the file you mean as weights"
                )
            require_space(path.parent, chosen[0].size)
            content = tar.extractfile(chosen[0])
            assert content is not None
            copy_whole(content, path)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise Damaged(f"{source}: cannot be unpacked ({type(error).__name__}: {reason})") from error


def require_kind(path: Path, kind: Format, source: str) -> None:
    """Check that a file is a complete file of a format; messages call it `source`.

    Raises:
        Damaged: if it is not; the message shows its first bytes, since it is most often a web page.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if kind == "safetensors":
        try:
            with safe_open(path, "np"):
                return
        except SafetensorError:
            whole = False
    else:
        whole = kind == "text" or start.startswith(b"\x80") or zipfile.is_zipfile(path)
    if not whole:
        mistaken = mistaken_kind(path)
        found = f": it is {mistaken}" if mistaken else f", or not all of it; it begins with {start!r}"
        raise Damaged(f"{source}: is no {kind} file{found}")


def copy_whole(source: IO[bytes], path: Path) -> None:
    """Copy a stream to a file that is either complete or absent.

    Raises:
        InputError: if it cannot be written.
    """
    part = path.with_name(f"{path.name}.copy")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); make room") from error
    finally:
        part.unlink(missing_ok=True)


def _members(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    for member in tar:
        members.append(member)
        if len(members) > _MEMBERS:
            raise tarfile.ReadError(f"it holds more than {_MEMBERS} files")
    return members


class _BoundedFile:
    """Unpacked content of an archive that tarfile may only read in pieces, as a header can promise gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int) -> bytes:
        if size > _CHUNK:
            raise tarfile.ReadError(f"the name or another header of a file has {size} bytes")
        return self._file.read(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unpacked(archive: Path) -> _BoundedFile:
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return _BoundedFile(cast(IO[bytes], gzip.open(archive)) if packed else archive.open("rb"))
