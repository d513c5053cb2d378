"""Limits of the service: requests per client, and bytes in memory."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_MINUTE: Final = 60.0


class Refused(Exception):
    """A request that is not answered with a count; `message` says why in plain words.

    Attributes:
        status: HTTP status.
        reason: one word, for the metrics.
        message: for the person who asked.
        retry_after: seconds after which it may be tried again; None if that does not help.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the answer."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return headers


class RateLimit:
    """Token buckets, one per client: `rate` requests at once, and as many again per minute.

    Args:
        rate: requests per minute; 0 for no limit.
        clients: number of clients that are remembered; those not seen for longest are forgotten first.
        clock: seconds that never go backwards.
    """

    def __init__(self, rate: float, clients: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clients, self._clock = rate, clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of clients that are remembered."""
        return len(self._buckets)

    def take(self, client: str) -> None:
        """Take one request from the bucket of a client.

        Raises:
            Refused: the bucket is empty.
        """
        if not self.rate:
            return
        now, capacity = self._clock(), max(1.0, self.rate)
        level, before = self._buckets.pop(client, (capacity, now))
        level = min(capacity, level + (now - before) * self.rate / _MINUTE)
        self._buckets[client] = (level - 1 if level >= 1 else level, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        if level < 1:
            wait = (1 - level) * _MINUTE / self.rate
            raise Refused(429, "rate", f"more than {self.rate:g} requests in a minute; wait a moment", wait)


def client_key(address: str | None) -> str:
    """Return the key of a client's bucket: its address, of IPv6 the network of 64 bits, which is one client's.

    Example:
        >>> client_key("192.0.2.7"), client_key("2001:db8::1:2:3:4")
        ('192.0.2.7', '2001:db8::')
    """
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


class Memory:
    """Bytes of all uploads at once.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes bytes and raises `Refused` if there are none; they are given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self.used + size > self.limit:
                raise Refused(503, "memory", "too many uploads at once; try again in a moment", 2)
            self.used += size
            taken += size

        try:
            yield take
        finally:
            self.used -= taken
