"""Faults of single files: adapters stop at the first one, unless somebody gathers all of them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from crowdcount.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Not an argument of `CrowdSource.records`: adapters, also those from outside, would have to hand it on to every reader,
# for the doctor alone. A context variable, not a global: each thread collects its own.
_GATHERED: ContextVar[list[InputError] | None] = ContextVar("gathered", default=None)


@contextmanager
def collect_errors() -> Iterator[list[InputError]]:
    """Let adapters pass over the files at fault, and gather the errors in the list that this gives.

    An error that makes the rest unreadable, of a list of images say, is raised all the same.
    """
    faults: list[InputError] = []
    token = _GATHERED.set(faults)
    try:
        yield faults
    finally:
        _GATHERED.reset(token)


def report_error(error: InputError) -> None:
    """Raise an error that concerns one file; return, for the caller to pass over it, where faults are gathered.

    Raises:
        InputError: that one.
    """
    faults = _GATHERED.get()
    if faults is None:
        raise error
    faults.append(error)


def read_each(read: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what `read` gives for each item, without those it refuses where faults are gathered.

    Raises:
        InputError: `read` refuses an item, and faults are not gathered.
    """
    results: list[Result] = []
    for item in items:
        try:
            results.append(read(item))
        except InputError as error:
            report_error(error)
    return results
