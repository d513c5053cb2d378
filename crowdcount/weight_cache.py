"""The files behind the index: fetched once, checked at every use, kept in one folder.

Every file is hashed before it is handed out: hashing takes a second for a gigabyte, and a wrong number takes longer to
find. Of what the index gives no SHA-256 for, the first download is recorded in `lock.json` of the folder, and held to
from then on.
"""

import json
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, TypedDict

from filelock import FileLock

from crowdcount.download import download, file_sha256, require_space
from crowdcount.errors import InputError
from crowdcount.weights import WeightEntry, read_index

logger = logging.getLogger(__name__)


class Record(TypedDict):
    """What is known of a cached file: `sha256` of the download, `file_sha256` of what was taken out of it."""

    url: str | None
    sha256: str
    file_sha256: str


def cache_folder() -> Path:
    """Return the folder of the weights: $CROWDCOUNT_CACHE, or crowdcount in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CROWDCOUNT_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "crowdcount"


def offline() -> bool:
    """Whether the environment forbids downloads: CROWDCOUNT_OFFLINE or HF_HUB_OFFLINE is set, and not to 0."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("CROWDCOUNT_OFFLINE", "HF_HUB_OFFLINE"))


def local_file(entry: WeightEntry, allow_unverified: bool = False) -> Path:
    """Return the checked file of an entry, from the cache or else from its addresses.

    Args:
        entry: what to get.
        allow_unverified: take a first download as it comes where the index gives no SHA-256.

    Raises:
        InputError: it cannot be had, or is not what it should be; says what to do.
    """
    found = cached_file(entry)  # without the lock: a cache may be read-only
    if found is not None:
        return found
    with _alone(entry):
        found = cached_file(entry)
        if found is not None:  # another process was faster
            return found
        if offline():
            raise InputError(f"{entry.name}: is not in {cache_folder()}, and downloads are forbidden (offline)")
        if not entry.urls:
            raise InputError(
                f"{entry.name}: nobody but a person can fetch it. Download it from {entry.page}, then:\n"
                f"  python tools/download_weights.py get {entry.name} --from FILE --allow-unverified"
            )
        expected = _expected(entry, allow_unverified)
        target = _download_path(entry)
        logger.info("%s: downloading to %s", entry.name, target.parent)
        digest = download(entry.urls, target, expected, entry.bytes)
        return _keep(entry, target, digest, entry.urls[0])


def adopt(entry: WeightEntry, file: Path, allow_unverified: bool = False) -> Path:
    """Take a copy of a file that a person downloaded, if it is the one of the entry; return the cached file.

    Raises:
        InputError: it is missing or another file.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    digest, expected = file_sha256(file), _expected(entry, allow_unverified)
    if expected not in (None, digest):
        raise InputError(
            f"{file}: is not {entry.name}: SHA-256 {digest} instead of {expected}; give the file as it was downloaded"
        )
    with _alone(entry):
        target = _download_path(entry)
        require_space(target.parent, file.stat().st_size)
        with file.open("rb") as source:
            _write(source, target)
        return _keep(entry, target, digest, None)


def cached_file(entry: WeightEntry) -> Path | None:
    """Return the checked file of an entry if the cache has it; a damaged one is mentioned in the log and left out."""
    path, record = _file_path(entry), _record(entry)
    wanted = record["file_sha256"] if record else None if entry.member else entry.sha256
    if wanted is None or not path.is_file():
        return None
    if file_sha256(path) == wanted:
        return path
    logger.warning("%s: damaged since it was stored", path)
    return None


def verify() -> dict[str, str]:
    """Return for each cached entry whether its file is "right" or "damaged"."""
    held = [entry for entry in read_index().values() if _file_path(entry).is_file()]
    return {entry.name: "damaged" if cached_file(entry) is None else "right" for entry in held}


def is_cached(entry: WeightEntry) -> bool:
    """Whether the cache has a file of the entry, right or not."""
    return _file_path(entry).is_file()


def _expected(entry: WeightEntry, allow_unverified: bool) -> str | None:
    record = _record(entry)
    expected = record["sha256"] if record else entry.sha256
    if expected is None and not allow_unverified:
        raise InputError(
            f"{entry.name}: its SHA-256 is not known, so nobody can tell whether the right bytes arrive. To take what "
            "comes, and hold later downloads to it:\n"
            f"  python tools/download_weights.py get {entry.name} --allow-unverified\n"
            "or allow_unverified=True in Python"
        )
    return expected


def _keep(entry: WeightEntry, download_: Path, digest: str, url: str | None) -> Path:
    """Give the weights of a checked download their final name, and record them."""
    path = _file_path(entry)
    if entry.member is not None:
        _extract(download_, entry.member, path)
        download_.unlink()
    record: Record = {"url": url, "sha256": digest, "file_sha256": digest if path == download_ else file_sha256(path)}
    with FileLock(cache_folder() / "lock.json.lock"):
        records = _records()
        records[entry.name] = record
        part = _lock_file().with_suffix(".part")
        part.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")
        part.replace(_lock_file())
    return path


def _extract(archive: Path, pattern: str, path: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            chosen = [member for member in files if fnmatchcase(PurePosixPath(member.name).name, pattern)]
            if len(chosen) != 1:
                names = ", ".join(member.name for member in files) or "nothing"
                raise InputError(f"{archive}: {len(chosen)} files in it are called {pattern}; it holds {names}")
            require_space(path.parent, chosen[0].size)
            content = tar.extractfile(chosen[0])
            assert content is not None
            _write(content, path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({type(error).__name__}: {error})") from error


def _write(source: IO[bytes], path: Path) -> None:
    """Copy so that the file is whole or absent."""
    part = path.with_name(f"{path.name}.copy")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _file_path(entry: WeightEntry) -> Path:
    suffix = {"safetensors": ".safetensors", "text": ".txt", "torchscript": ".pt", "torch": ".pth"}[entry.format]
    return cache_folder() / f"{_stem(entry)}{suffix}"


def _download_path(entry: WeightEntry) -> Path:
    return _file_path(entry) if entry.member is None else cache_folder() / f"{_stem(entry)}.archive"


def _stem(entry: WeightEntry) -> str:
    """Return a name that two versions of an entry do not share."""
    return f"{entry.name.replace('/', '-')}-{entry.sha256[:12] if entry.sha256 else 'unverified'}"


@contextmanager
def _alone(entry: WeightEntry) -> Iterator[None]:
    """Let one process at a time bring an entry into the cache."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache_folder() / f"{_stem(entry)}.lock")
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{cache_folder()}: cannot be written to ({error.strerror}); set CROWDCOUNT_CACHE to a folder that can"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _lock_file() -> Path:
    return cache_folder() / "lock.json"


def _records() -> dict[str, Record]:
    path = _lock_file()
    if not path.is_file():
        return {}
    try:
        records: dict[str, Record] = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged ({error}); remove it to have unverified downloads recorded anew"
        ) from error
    return records


def _record(entry: WeightEntry) -> Record | None:
    """Return what is recorded of an entry, unless it is of another version than the index names."""
    record = _records().get(entry.name)
    return record if record and entry.sha256 in (None, record["sha256"]) else None
