"""Threads that count, with a bounded queue before them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from crowdcount.service.limits import Refused
from crowdcount.service.metrics import Metrics

Result = TypeVar("Result")

_SHARE: Final = 0.2
"""Weight of the last job in the moving average of their duration."""


class Worker:
    """Threads for work that would keep the service from answering.

    A job that is given up, because its time is over or its client has gone, is dropped if it waits. One that runs
    cannot be stopped; it keeps its place until it is done, so that threads and memory stay bounded.

    Args:
        threads: jobs at the same time.
        queue: jobs that may wait.
        metrics: of the service.
    """

    def __init__(self, threads: int, queue: int, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="count")
        self._threads, self._places, self._metrics = threads, threads + queue, metrics
        self._taken, self._mean = 0, 1.0
        metrics.watch_jobs(lambda: float(self._taken))

    @property
    def taken(self) -> int:
        """Number of jobs that run or wait."""
        return self._taken

    def close(self) -> None:
        """Drop what waits; what runs is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, job: Callable[[], Result], seconds: float, gone: Callable[[], Awaitable[None]]) -> Result:
        """Return the result of a job.

        Args:
            job: called in a thread.
            seconds: time for waiting and running.
            gone: returns when the client has gone.

        Raises:
            Refused: the queue is full, the time is over, or the client has gone.
        """
        future = asyncio.wrap_future(self._submit(job))
        leaving = asyncio.ensure_future(gone())
        try:
            waiting: set[asyncio.Future[Any]] = {future, leaving}
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
        finally:
            future.cancel()
            leaving.cancel()
        if leaving.done() and not leaving.cancelled():
            raise Refused(499, "gone", "the client has gone")
        raise Refused(503, "time", f"this took more than {seconds:g} seconds; try again later", self._wait())

    def _submit(self, job: Callable[[], Result]) -> Future[Result]:
        if self._taken >= self._places:
            raise Refused(503, "queue", "too many images are waiting; try again in a moment", self._wait())
        loop, start = asyncio.get_running_loop(), time.monotonic()

        def timed() -> Result:
            begin = time.monotonic()
            self._metrics.observe("wait", begin - start)
            try:
                return job()
            finally:
                seconds = time.monotonic() - begin
                self._metrics.observe("count", seconds)
                self._mean += _SHARE * (seconds - self._mean)

        self._taken += 1
        future = self._pool.submit(timed)
        future.add_done_callback(lambda _: _call(loop, self._leave))
        return future

    def _leave(self) -> None:
        self._taken -= 1

    def _wait(self) -> float:
        """Return seconds until about half of the queue is done."""
        return min(60.0, self._mean * self._taken / self._threads / 2)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
