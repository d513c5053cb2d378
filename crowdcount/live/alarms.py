"""Alarms: a threshold with hysteresis and dwell time, as a state machine of times and values alone."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from crowdcount.checks import check_number
from crowdcount.errors import InputError

WHOLE: Final = "count"
"""Name of the count of the whole image in rules."""

_RELEASE: Final = 0.9
"""Threshold of clearing as a share of that of raising, where a rule names none."""
_FORM: Final = '"ZONE>=N [off=N] [for=SECONDS] [miss=SHARE]"'

State = Literal["quiet", "pending", "raised", "clearing"]


@dataclass(frozen=True)
class Rule:
    """A rule of an alarm, see `parse_rule`.

    Attributes:
        text: the rule as it was written.
        target: name of a zone, or "count" for the whole image; after SOURCE/ for one source alone.
        on: value from which on it is raised.
        off: value below which it is cleared, at most `on`.
        dwell: seconds for which a value must stay there.
        miss: accepted probability of a missed excess, for a calibrated model: the value is then the upper bound of the
            count. None compares the smoothed count.

    Raises:
        InputError: a number is out of its range.
    """

    text: str
    target: str
    on: float
    off: float
    dwell: float = 0.0
    miss: float | None = None

    def __post_init__(self) -> None:
        check_number(f"{self.text}: the threshold", self.on, 0, above=True)
        check_number(f"{self.text}: off", self.off, 0, self.on)
        check_number(f"{self.text}: for", self.dwell, 0, hint="in seconds")
        if self.miss is not None:
            check_number(f"{self.text}: miss", self.miss, 0, 0.5, above=True)

    def applies_to(self, source: str, names: Collection[str]) -> str | None:
        """Return the zone, or "count", whose number it compares in a source; None if it is for another one.

        Args:
            source: name of the source.
            names: of its zones.
        """
        return next((name for name in (*names, WHOLE) if self.target in (name, f"{source}/{name}")), None)


def parse_rule(text: str) -> Rule:
    """Return the rule of a text such as "gate>=50 off=40 for=30 miss=0.05".

    Without `off` it is cleared below 90 % of the threshold; without `for` both happen at once.

    Raises:
        InputError: it has another form, or a number is out of its range.

    Example:
        >>> parse_rule("gate>=50 for=30")
        Rule(text='gate>=50 for=30', target='gate', on=50.0, off=45.0, dwell=30.0, miss=None)
    """
    target, found, rest = text.rpartition(">=")
    words = rest.split()
    if not found or not target.strip() or not words:
        raise InputError(f"{text!r}: is no rule of an alarm; write {_FORM}, or count>=N for the whole image")
    numbers: dict[str, float] = {}
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in ("off", "for", "miss") or key in numbers:
            raise InputError(f"{text!r}: {word} is not known here, or there twice; write {_FORM}")
        numbers[key] = _number(text, value)
    on = _number(text, words[0])
    return Rule(
        text, target.strip(), on, numbers.get("off", _RELEASE * on), numbers.get("for", 0.0), numbers.get("miss")
    )


class Alarm:
    """The state of a rule over time.

    quiet -> pending at the first value of at least `on`; pending -> raised once values have been that high for `dwell`
    seconds, -> quiet at the first lower one; raised -> clearing at the first value below `off`; clearing -> quiet once
    values have been that low for `dwell` seconds, -> raised at the first other one.

    Args:
        rule: the rule.

    Attributes:
        state: as above.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state: State = "quiet"
        self._since = math.nan

    @property
    def is_raised(self) -> bool:
        """Whether it was raised and is not cleared yet."""
        return self.state in ("raised", "clearing")

    def update(self, time: float, value: float) -> Literal["raised", "cleared"] | None:
        """Add a value and return the change that it makes, if any.

        Args:
            time: in seconds, not before that of the last value.
            value: number of people, or its upper bound.
        """
        before = self.is_raised
        changes = value < self.rule.off if before else value >= self.rule.on
        if not changes:
            self.state = "raised" if before else "quiet"
            return None
        if self.state in ("quiet", "raised"):
            self.state, self._since = ("clearing" if before else "pending"), time
        if time - self._since < self.rule.dwell:
            return None
        self.state = "quiet" if before else "raised"
        return "cleared" if before else "raised"

    def interrupt(self) -> None:
        """Forget how long values have been high or low: in between there were none. What is raised stays raised."""
        self.state = "raised" if self.is_raised else "quiet"


def _number(text: str, word: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", word):
        raise InputError(f"{text!r}: {word!r} is no number; write {_FORM}")
    return float(word)
