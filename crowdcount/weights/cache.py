"""Cache of the files of the index: downloaded once, verified at every use, kept in one folder.

Every file is hashed before it is returned: hashing takes a second per gigabyte, and a wrong count takes longer to find.
If the index has no SHA-256 of a file, that of the first download is recorded in `lock.json` in the folder and required
from then on.
"""

import json
import logging
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypedDict

from filelock import FileLock, Timeout

from crowdcount.errors import InputError
from crowdcount.files import atomic_write, is_file
from crowdcount.weights.archive import Damaged, copy_whole, extract, require_kind
from crowdcount.weights.download import download, file_sha256, require_space
from crowdcount.weights.file_kind import mistaken_kind
from crowdcount.weights.index import WeightEntry, read_index

logger = logging.getLogger(__name__)

TOOL = "crowdcount weights"

State = Literal["absent", "right", "damaged", "not recorded"]
"""State of a cached file; "not recorded": it exists, but its expected hash is not known."""

_SUFFIXES = {"safetensors": ".safetensors", "text": ".txt", "torchscript": ".pt", "torch": ".pth"}


class CacheRecord(TypedDict):
    """Record of a cached file: `sha256` of the download, `file_sha256` of the file extracted from it."""

    sha256: str
    file_sha256: str


def cache_folder() -> Path:
    """Return the folder of the cache: $CROWDCOUNT_CACHE, or crowdcount in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("CROWDCOUNT_CACHE")
    if own:
        return Path(own).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "crowdcount"
    except RuntimeError as error:
        raise InputError(f"there is no home for the cache ({error}); set CROWDCOUNT_CACHE to a folder") from error


def offline() -> bool:
    """Return whether downloads are disabled: CROWDCOUNT_OFFLINE or HF_HUB_OFFLINE is set, and not to 0."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("CROWDCOUNT_OFFLINE", "HF_HUB_OFFLINE"))


def file_path(entry: WeightEntry) -> Path:
    """Return the path of the weights of an entry in the cache or the package, whether or not they exist."""
    return entry.packaged or cache_folder() / f"{_stem(entry)}{_SUFFIXES[entry.format]}"


def state(entry: WeightEntry) -> State:
    """Return the state of the cached file of an entry, which is hashed."""
    path = file_path(entry)
    if not path.is_file():
        return "absent"
    if entry.sha256 is not None and entry.member is None:
        wanted: str | None = entry.sha256
    else:
        record = _record(entry)
        wanted = record["file_sha256"] if record else None
    if wanted is None:
        return "not recorded"
    return "right" if file_sha256(path) == wanted else "damaged"


def ensure_downloaded(entry: WeightEntry, allow_unverified: bool = False) -> Path:
    """Return the verified file of an entry, from the cache or downloaded.

    Args:
        entry: entry of the index.
        allow_unverified: accept the first download unverified if the index has no SHA-256.

    Raises:
        InputError: if it cannot be downloaded or verified; the message says what to do.
    """
    if state(entry) == "right":  # without the lock: a cache may be read-only
        return file_path(entry)
    if entry.packaged is not None:
        raise InputError(f"{entry.packaged}: is missing or damaged; install crowdcount-zoo again")
    with _alone(entry):
        found = state(entry)
        if found == "right":  # another process was faster
            return file_path(entry)
        if found == "damaged":
            logger.warning("%s: damaged since it was stored", file_path(entry))
        if offline():
            how = "not" if found == "absent" else found
            raise InputError(f"{entry.name}: is {how} in {cache_folder()}, and downloads are forbidden (offline)")
        if not entry.urls:
            raise InputError(
                f"{entry.name}: nobody but a person can fetch it. Download it from {entry.page}, then:\n"
                f"  {TOOL} get {entry.name} --from FILE --allow-unverified\n"
                "or give the file itself as weights"
            )
        expected, staged = _expected(entry, allow_unverified, ""), _staged(entry)
        if expected is None or not staged.is_file() or file_sha256(staged) != expected:
            logger.info("%s: downloading to %s", entry.name, cache_folder())
            try:
                expected = download(entry.urls, staged, expected, entry.bytes)
            except InputError as error:
                raise InputError(f"{error}{_way_out(entry)}") from error
        return _keep(entry, staged, expected, str(staged))


def import_file(entry: WeightEntry, file: Path, allow_unverified: bool = False) -> Path:
    """Copy a manually downloaded file of an entry to the cache, and return the cached file.

    Raises:
        InputError: if it is missing or another file.
    """
    if not is_file(file):
        raise InputError(f"{file}: no such file")
    _require_cached(entry)
    with _alone(entry):
        expected, staged = _expected(entry, allow_unverified, f" --from {shlex.quote(str(file))}"), _staged(entry)
        require_space(staged.parent, file.stat().st_size)
        with file.open("rb") as source:
            copy_whole(source, staged)
        digest, size = file_sha256(staged), staged.stat().st_size
        if entry.bytes not in (None, size) or expected not in (None, digest):
            staged.unlink()
            mistaken = mistaken_kind(file) if entry.member is None else None
            raise InputError(
                f"{file}: is not {entry.name}: "
                + (f"it is {mistaken}; " if mistaken else "")
                + f"SHA-256 {digest} ({size} bytes) instead of SHA-256 "
                f"{expected or 'not known'} ({entry.bytes or 'any number of'} bytes); give the file as it was "
                f"downloaded{_way_out(entry)}"
            )
        return _keep(entry, staged, digest, str(file))


def remove(entry: WeightEntry) -> bool:
    """Remove the cached file of an entry and its record; return whether either existed.

    Raises:
        InputError: if the file is part of the package, not of the cache.
    """
    _require_cached(entry)
    with _alone(entry):
        there = file_path(entry).is_file() or entry.name in _records()
        for path in cache_folder().glob(f"{_stem(entry)}.*"):
            if path.suffix != ".lock":
                path.unlink()
        _set_record(entry, None)
    return there


def _require_cached(entry: WeightEntry) -> None:
    if entry.packaged is not None:
        raise InputError(f"{entry.name}: comes with the package; nothing of it is in the cache")


def known_as(sha256: str) -> WeightEntry | None:
    """Return the entry of a file with this SHA-256 according to the index or the records of the cache."""
    records = _records()
    for entry in read_index().values():
        record = records.get(entry.name)
        if sha256 == entry.sha256 or (record and sha256 in (record["sha256"], record["file_sha256"])):
            return entry
    return None


def _expected(entry: WeightEntry, allow_unverified: bool, given: str) -> str | None:
    record = _record(entry)
    expected = record["sha256"] if record else entry.sha256
    if expected is None and not allow_unverified:
        raise InputError(
            f"{entry.name}: its SHA-256 is not known, so nobody can tell whether the right bytes arrive. To take what "
            "comes, and hold later downloads to it:\n"
            f"  {TOOL} get {entry.name}{given} --allow-unverified\n"
            "or allow_unverified=True in Python"
        )
    return expected


def _way_out(entry: WeightEntry) -> str:
    """Return a hint if the expected hash is not from the index: its origin, and how to use another file."""
    if entry.sha256 or not _record(entry):
        return ""
    return (
        f"\nThe index knows no hash of it: the one expected is that of the file that came first, recorded in "
        f"{_lock_file()}. To take another one: {TOOL} remove {entry.name}"
    )


def _keep(entry: WeightEntry, staged: Path, digest: str, source: str) -> Path:
    """Move the weights of a verified download, called `source` in messages, to their final name, and record them."""
    path = file_path(entry)
    weights = staged if entry.member is None else staged.with_suffix(".weights")
    try:
        if entry.member is not None:
            extract(staged, entry.member, weights, source)
        if entry.sha256 is None:
            require_kind(weights, entry.format, source)
    except Damaged:
        staged.unlink()
        weights.unlink(missing_ok=True)
        raise
    record: CacheRecord = {"sha256": digest, "file_sha256": digest if weights == staged else file_sha256(weights)}
    _set_record(entry, record)
    weights.replace(path)
    staged.unlink(missing_ok=True)
    return path


def _staged(entry: WeightEntry) -> Path:
    """Return the path of a download before it is verified."""
    return cache_folder() / f"{_stem(entry)}.download"


def _stem(entry: WeightEntry) -> str:
    """Return a name that is different for each version of an entry."""
    return f"{entry.name.replace('/', '-')}-{entry.sha256[:12] if entry.sha256 else 'unverified'}"


@contextmanager
def _alone(entry: WeightEntry) -> Iterator[None]:
    """Lock an entry, so that one process at a time downloads it."""
    lock = FileLock(cache_folder() / f"{_stem(entry)}.lock")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("%s: another process is fetching it; waiting", entry.name)
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


def _records() -> dict[str, CacheRecord]:
    path = _lock_file()
    try:
        records: dict[str, CacheRecord] = json.loads(path.read_text()) if path.is_file() else {}
        wrong = [name for name, record in records.items() if not _is_record(record)]
    except (ValueError, AttributeError, TypeError) as error:
        raise _damaged_lock_file(str(error)) from error
    if wrong:
        raise _damaged_lock_file(wrong[0])
    return records


def _is_record(record: CacheRecord) -> bool:
    known = record.keys() == CacheRecord.__annotations__.keys()
    return known and all(re.fullmatch("[0-9a-f]{64}", str(value)) for value in record.values())


def _damaged_lock_file(why: str) -> InputError:
    return InputError(f"{_lock_file()}: is damaged ({why}); remove it, then unverified files are fetched anew")


def _record(entry: WeightEntry) -> CacheRecord | None:
    """Return the record of an entry, None if it belongs to another version than the index."""
    record = _records().get(entry.name)
    return record if record and entry.sha256 in (None, record["sha256"]) else None


def _set_record(entry: WeightEntry, record: CacheRecord | None) -> None:
    with FileLock(f"{_lock_file()}.lock"):
        records = {name: each for name, each in _records().items() if name != entry.name}
        if record is not None:
            records[entry.name] = record
        atomic_write(_lock_file(), json.dumps(records, indent=2, sort_keys=True) + "\n")
