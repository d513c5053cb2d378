"""The outermost part of the service: whom a browser may send here, headers of all answers, and a last time limit."""

import asyncio
import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crowdcount.service.limits import Refused
from crowdcount.service.metrics import Metrics
from crowdcount.service.settings import Settings

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_API: Final = ("/cameras", "/count", "/health", "/info", "/metrics", "/openapi.json", "/readings", "/zones")
_SEND_SECONDS: Final = 60.0


class Guard:
    """An ASGI application around the service's own.

    A browser names the page that a request comes from. Pages of other sites may link here, but neither upload nor read
    anything: their requests would come with this machine's address, from behind its firewall.

    Args:
        app: the application inside.
        settings: of the service.
        metrics: of the service.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self._settings, self._metrics = app, settings, metrics
        self._seconds = settings.upload_seconds + settings.count_seconds + _SEND_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is none."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        first = "/" + scope["path"].split("/")[1] if "/" in scope["path"] else ""
        path = first if first in _API else "page"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**_HEADERS, "Cache-Control": "no-cache" if path == "page" else "no-store"})
                self._metrics.answers.labels(path, message["status"]).inc()
            await send(message)

        app = self.app
        try:
            check_source(Headers(scope=scope), self._settings, page=path == "page")
        except Refused as error:
            app = refusal(error, self._metrics)
        try:
            async with asyncio.timeout(self._seconds):  # also of clients that do not read their answer
                await app(scope, receive, send_with_headers)
        except TimeoutError:
            self._metrics.refused.labels("slow").inc()


def refusal(error: Refused, metrics: Metrics) -> JSONResponse:
    """Return the answer to a request that is refused, and count it."""
    metrics.refused.labels(error.reason).inc()
    return JSONResponse({"error": error.message}, error.status, error.headers)


def check_source(headers: Headers, settings: Settings, page: bool) -> None:
    """Check the name that the service was asked for by, and the site that asked.

    Args:
        headers: of the request.
        settings: of the service.
        page: whether the page was asked for, to which other sites may link.

    Raises:
        Refused: the name is unknown, or another site asked.
    """
    host = headers.get("host", "")
    if not is_own_host(host, settings.host_names):
        message = f"this service is not called {host[:80]!r}; the option --host-name adds a name"
        raise Refused(421, "host", message)
    if page:
        return
    origin = headers.get("origin", f"http://{host}")
    own = origin in (f"http://{host}", f"https://{host}")
    if not own or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refused(403, "site", "pages of other sites may not use this service")


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Return whether the header Host is an address, localhost or one of the names, with any port.

    Example:
        >>> is_own_host("127.0.0.1:8000", ()), is_own_host("[::1]:8000", ()), is_own_host("evil.example", ())
        (True, True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in {each.lower() for each in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
