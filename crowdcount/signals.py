"""How signals are handled, put back after others have changed it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored_sigterm() -> Iterator[None]:
    """Restore how SIGTERM was handled."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            signal.signal(signal.SIGTERM, before)
