"""Checks of numbers and choices in settings, with uniform messages."""

import math
from collections.abc import Collection

from crowdcount.errors import InputError


def check_number(
    key: str, value: float, low: float, high: float = math.inf, *, above: bool = False, hint: str = ""
) -> None:
    """Check that a number is finite and within its range.

    Args:
        key: name of the setting, such as "loss.weight".
        value: the number.
        low: minimum.
        high: maximum.
        above: exclude `low` itself.
        hint: text appended to the message, such as "or null for none".

    Raises:
        InputError: the number is not allowed; the message names key, value and range.
    """
    finite = -math.inf < value < math.inf  # math.isfinite fails for very large integers
    if finite and (low < value if above else low <= value) and value <= high:
        return
    wanted = f"above {low:g}" if above else f"at least {low:g}"
    if high < math.inf:
        wanted = f"{wanted} and at most {high:g}" if above else f"between {low:g} and {high:g}"
    raise InputError(
        f"{key}: {value} must be {'' if finite else 'finite and '}{wanted}" + (f", {hint}" if hint else "")
    )


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Check that a value is one of the allowed choices.

    Args:
        key: name of the setting, such as "loss.form".
        value: the value.
        choices: allowed values; None is shown as null.

    Raises:
        InputError: the value is not among them; the message names key, value and choices.
    """
    if value not in choices:
        known = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise InputError(f"{key}: {value!r} is not one of {known}")
