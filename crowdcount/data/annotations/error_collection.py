"""Collection of errors in single files, where adapters would otherwise stop at the first one, and of remarks."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

from crowdcount.errors import InputError
from crowdcount.images.warn_once import warn_once

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not an argument of `CrowdSource.records`: all adapters would have to pass it on to every reader, only for the doctor.
# A context variable, not a global, so that each thread collects its own errors.
_GATHERED: ContextVar[list[InputError] | None] = ContextVar("gathered", default=None)
_REMARKS: "ContextVar[list[Remark] | None]" = ContextVar("remarks", default=None)
_SHOWN: Final = 5


class Remark(NamedTuple):
    """A file that a reader left out, or an assumption that it made.

    Attributes:
        kind: "left out" for files that become no record, "frame" for coordinates read as pixels.
        path: folder or file that the remark concerns.
        text: the remark without the path.
    """

    kind: Literal["left out", "frame"]
    path: Path
    text: str


@contextmanager
def collect_errors() -> Iterator[list[InputError]]:
    """Let adapters skip invalid files, and collect the errors in the list that is yielded.

    An error that makes the whole split unreadable, such as one in a list of images, is still raised.
    """
    faults: list[InputError] = []
    token = _GATHERED.set(faults)
    try:
        yield faults
    finally:
        _GATHERED.reset(token)


def report_error(error: InputError) -> None:
    """Raise an error that concerns one file, or collect it so that the caller skips the file.

    Raises:
        InputError: if errors are not collected.
    """
    faults = _GATHERED.get()
    if faults is None:
        raise error
    faults.append(error)


@contextmanager
def collect_remarks() -> Iterator[list[Remark]]:
    """Collect the remarks of readers in the list that is yielded; without it they are logged as warnings, each once."""
    remarks: list[Remark] = []
    token = _REMARKS.set(remarks)
    try:
        yield remarks
    finally:
        _REMARKS.reset(token)


def report_remark(remark: Remark) -> None:
    """Collect a remark, or log it as a warning."""
    remarks = _REMARKS.get()
    if remarks is None:
        warn_once(logger, f"{remark.path}: {remark.text}")  # splits are read several times
    elif remark not in remarks:
        remarks.append(remark)


def report_left_out(folder: Path, files: Sequence[Path], reason: str) -> None:
    """Report files that become no record, if there are any.

    Args:
        folder: folder for the message.
        files: the files.
        reason: reason why they are left out, such as "not images that are read here".
    """
    if files:
        shown = ", ".join(str(file.relative_to(folder)) for file in files[:_SHOWN])
        more = f" and {len(files) - _SHOWN:,} more" if len(files) > _SHOWN else ""
        number = f"{len(files):,} file{'s' * (len(files) != 1)} left out"
        report_remark(Remark("left out", folder, f"{number}, {reason}: {shown}{more}"))


def read_each(read: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the result of `read` for each item, without invalid items if errors are collected.

    Raises:
        InputError: if `read` rejects an item and errors are not collected.
    """
    results: list[Result] = []
    for item in items:
        try:
            results.append(read(item))
        except InputError as error:
            report_error(error)
    return results
