"""Messages of events: a webhook or a command, called in a thread of its own."""

import json
import math
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from crowdcount.errors import InputError
from crowdcount.live.backoff import Backoff
from crowdcount.live.clock import Clock, SystemClock
from crowdcount.live.log import Event, utc_text
from crowdcount.live.masking import mask_all_but_host

_MOST_WAITING: Final = 1000
"""Events that wait for their delivery; further ones are dropped and counted."""
_ATTEMPTS: Final = 6
"""Attempts to deliver an event, with waits of 1, 2, 4, 8 and 16 seconds between them."""
_TIMEOUT: Final = 10.0


class DeliveryError(Exception):
    """A message that could not be delivered.

    Attributes:
        again: whether another attempt may do better.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


Deliver = Callable[[bytes], None]
"""Delivers a message in JSON, or raises `DeliveryError`."""


class Notifier:
    """Delivers events one after the other in a thread of its own, so that counting never waits for them.

    Args:
        deliver: delivers a message.
        warn: called with what is to be known of messages that were not delivered.
        backoff: waits between attempts.
        clock: the time.

    Attributes:
        delivered: events delivered.
    """

    def __init__(
        self,
        deliver: Deliver,
        warn: Callable[[str], None],
        backoff: Backoff | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._deliver, self._warn = deliver, warn
        self._backoff, self._clock = backoff or Backoff(), clock or SystemClock()
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.delivered = self._given = self._given_up = 0
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Events that were given up, or dropped because too many waited; at the end, all that were not delivered."""
        return self._given - self.delivered if self._stop.is_set() else self._given_up

    def put(self, event: Event) -> None:
        """Have an event delivered."""
        self._given += 1
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(event)
        else:
            self._given_up += 1

    def finish(self) -> None:
        """Begin to end, without waiting for it: what waits is delivered."""
        self._waiting.put(None)

    def close(self, seconds: float = 5.0) -> None:
        """Give the events that wait some seconds, and count those that are left as lost."""
        self.finish()
        self._thread.join(seconds)
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set() and (event := self._waiting.get()) is not None:
            self._attempt(event)

    def _attempt(self, event: Event) -> None:
        self._backoff.reset()
        for number in range(1, _ATTEMPTS + 1):
            try:
                self._deliver(message(event))
            except DeliveryError as error:
                if not error.again or number == _ATTEMPTS or self._clock.wait(self._stop, self._backoff.wait()):
                    self._given_up += 1
                    self._warn(f"{event.kind} ({event.alarm}) was not delivered after attempt {number}: {error}")
                    return
            else:
                self.delivered += 1
                return


def close_all(notifiers: Sequence[Notifier], seconds: float = 5.0) -> None:
    """Close notifiers together; see `Notifier.close`."""
    end = time.monotonic() + seconds
    for each in notifiers:
        each.finish()
    for each in notifiers:
        each.close(max(0.0, end - time.monotonic()))


def message(event: Event) -> bytes:
    """Return an event as JSON: source, time (ISO 8601, UTC), kind, alarm and value (null without one).

    Example:
        >>> message(Event("gate", 0.0, "raised", "count>=5", 6.5))
        b'{"source": "gate", "time": "1970-01-01T00:00:00.000Z", "kind": "raised", "alarm": "count>=5", "value": 6.5}'
    """
    known = event.value is not None and math.isfinite(event.value)
    content: dict[str, Any] = {"source": event.source, "time": utc_text(event.time), "kind": event.kind}
    return json.dumps(content | {"alarm": event.alarm, "value": event.value if known else None}).encode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would turn the message into a GET without it."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request."""


class Webhook:
    """Posts messages to an address.

    Args:
        url: address, http or https; its path is a secret and appears in no message.

    Raises:
        InputError: it is no such address.
    """

    def __init__(self, url: str) -> None:
        self._url, self.name = url, mask_all_but_host(url)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InputError(f"{self.name}: a webhook is an address such as https://host/path")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, content: bytes) -> None:
        """Post a message.

        Raises:
            DeliveryError: it was not accepted. Refusals by the receiver (status 300 to 499, but not 408, 425 and 429)
                are final.
        """
        request = urllib.request.Request(self._url, content, {"Content-Type": "application/json"}, method="POST")
        try:
            self._opener.open(request, timeout=_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
            again = error.code >= 500 or error.code in (408, 425, 429)
            raise DeliveryError(f"{self.name}: status {error.code}", again=again) from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise DeliveryError(f"{self.name}: {type(reason).__name__}", again=True) from error


class Command:
    """Runs a program with a message on its standard input, without a shell.

    Args:
        words: program and arguments.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    def __call__(self, content: bytes) -> None:
        """Run the program; after ten seconds it is killed.

        Raises:
            DeliveryError: it could not be started, took too long, or ended with another status than 0.
        """
        try:
            done = subprocess.run(
                self._words, input=content, timeout=_TIMEOUT, check=False, stdout=subprocess.DEVNULL, stderr=None
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = error.strerror if isinstance(error, OSError) else f"killed after {_TIMEOUT:g} s"
            raise DeliveryError(f"{self._words[0]}: {reason}", again=False) from error
        if done.returncode:
            raise DeliveryError(f"{self._words[0]}: status {done.returncode}", again=False)
