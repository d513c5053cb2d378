"""Waiting times between attempts to connect: exponential back-off with jitter."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from crowdcount.checks import check_number


@dataclass
class Backoff:
    """Waiting times that double up to a limit, each shortened at random so that many clients do not return at once.

    The n-th wait after a reset is min(longest, first x 2^n) x (1 - jitter x u), with u uniform in [0, 1).

    Attributes:
        first: seconds of the first wait.
        longest: limit in seconds.
        jitter: largest share by which a wait is shortened.
        uniform: function that returns u.

    Raises:
        InputError: a number is out of its range.
    """

    first: float = 1.0
    longest: float = 60.0
    jitter: float = 0.5
    uniform: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        check_number("backoff.first", self.first, 0, above=True)
        check_number("backoff.longest", self.longest, self.first)
        check_number("backoff.jitter", self.jitter, 0, 1)
        self.reset()

    def reset(self) -> None:
        """Begin again with the first wait."""
        self._next = self.first

    def wait(self) -> float:
        """Return the seconds of the next wait."""
        seconds = self._next
        self._next = min(self.longest, 2 * seconds)
        return seconds * (1 - self.jitter * self.uniform())
