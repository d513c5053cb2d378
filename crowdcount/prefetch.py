"""Prefetching: results are computed one step ahead of their use."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Future[Result]]:
    """Apply a function to each item and yield the results as futures, in order, computing one item ahead.

    An exception of the function is raised by the future's `result()`, so that one bad item does not stop the others.
    """
    waiting: Future[Result] | None = None
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            current, waiting = waiting, pool.submit(function, item)
            if current is not None:
                yield current
        if waiting is not None:
            yield waiting
