"""SIGTERM, which ends a command as Ctrl-C does: what was done is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, such as from a scheduler."""


def exit_status(stop: KeyboardInterrupt) -> int:
    """Return the exit status after Ctrl-C or SIGTERM, as shells have it: 130 or 143."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in the block."""

    def stop(*_: Any) -> None:
        raise Terminated

    with _handling({signal.SIGTERM: stop}):
        yield


class Stop(threading.Event):
    """An event that SIGINT and SIGTERM set, so that what is begun is done.

    Attributes:
        status: exit status: 130 after SIGINT, 143 after SIGTERM, as shells have it; 0 before.
    """

    status = 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let signals set the event in the block; a second one interrupts at once."""

        def stop(number: int, _: Any) -> None:
            if self.is_set():
                raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
            self.status = 128 + number
            self.set()

        with _handling({signal.SIGINT: stop, signal.SIGTERM: stop}):
            yield


@contextmanager
def _handling(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:  # not the main thread, which alone is told of signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
