"""Work one step ahead of whoever uses its results."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Future[Result]]:
    """Yield for each item, in order, what a function makes of it; the next one is made while one is looked at.

    What the function raises is raised by the future's `result()`, so that one bad item does not end the others.
    """
    waiting: Future[Result] | None = None
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            current, waiting = waiting, pool.submit(function, item)
            if current is not None:
                yield current
        if waiting is not None:
            yield waiting
