"""Collection of errors in single files, where adapters would otherwise stop at the first one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from crowdcount.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not an argument of `CrowdSource.records`: all adapters would have to pass it on to every reader, only for the doctor.
# A context variable, not a global, so that each thread collects its own errors.
_GATHERED: ContextVar[list[InputError] | None] = ContextVar("gathered", default=None)


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
