"""The service as a process: a socket, uvicorn, time limits of connections, and a clean end."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import cv2
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from crowdcount.errors import InputError

_CONNECTIONS: Final = 256
"""Maximum number of connections; further ones get status 503."""

_IDLE_SECONDS: Final = 10.0
"""Time in which a connection must send a request with all its headers."""

_END_SECONDS: Final = 15
"""Time for running requests after the signal to end."""


class Protocol(H11Protocol):
    """HTTP of uvicorn, which itself waits without end for the headers of a request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        super().connection_lost(exc)
        self._stop()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the wait is over when they complete the headers."""
        super().data_received(data)
        if self._busy():
            self._stop()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        if not self._busy():
            self._wait()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop()
        self._deadline = self.loop.call_later(_IDLE_SECONDS, self._close)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes a free one.

    Raises:
        InputError: the address is unknown, not of this machine, or in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot be taken ({reason}); choose others") from error


class Server(uvicorn.Server):
    """A server of the service.

    Args:
        app: the service.
        ready: called when the service answers.
        proxies: addresses whose word on the client's own address (X-Forwarded-For) is taken; None for nobody's.

    Attributes:
        interrupted: whether Ctrl-C ended it.
    """

    interrupted = False

    def __init__(self, app: ASGIApp, ready: Callable[[], None], proxies: str | None = None) -> None:
        options: dict[str, Any] = {"forwarded_allow_ips": proxies} if proxies else {"proxy_headers": False}
        config = uvicorn.Config(
            app,
            http=Protocol,
            loop="asyncio",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_END_SECONDS,
            **options,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals that end the service, while it runs.

        uvicorn raises them again at its end, for handlers that are not always the same: asyncio replaces Python's own
        for SIGINT, and a shell that starts a process in the background has it ignored.
        """
        if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End after the running requests, at a second Ctrl-C at once."""
        self.interrupted |= sig == signal.SIGINT
        super().handle_exit(sig, frame)


def serve(app: ASGIApp, listener: socket.socket, ready: Callable[[], None], proxies: str | None = None) -> None:
    """Answer requests until SIGTERM or Ctrl-C; running ones are finished.

    Args:
        app: the service.
        listener: from `bind`.
        ready: see `Server`.
        proxies: see `Server`.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # damaged uploads are answered, not printed
    for library in ("uvicorn", "python_multipart"):
        logging.getLogger(library).setLevel(logging.ERROR)  # a line for each damaged form would fill the log
    server = Server(app, ready, proxies)
    server.run(sockets=[listener])
    if server.interrupted:
        raise KeyboardInterrupt
