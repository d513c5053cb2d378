"""Checks of the numbers and words that a user sets, with one wording for all of them."""

import math
from collections.abc import Collection

from crowdcount.errors import InputError


def check_number(
    key: str, value: float, low: float, high: float = math.inf, *, above: bool = False, hint: str = ""
) -> None:
    """Refuse a number that is not finite or out of range.

    Args:
        key: name of the setting, such as "loss.weight".
        value: the number.
        low: lowest number allowed.
        high: highest number allowed.
        above: refuse `low` itself.
        hint: what else may be set, such as "or null for none".

    Raises:
        InputError: names key, value and range.
    """
    finite = -math.inf < value < math.inf  # not math.isfinite, which whole numbers may be too large for
    if finite and (low < value if above else low <= value) and value <= high:
        return
    wanted = f"above {low:g}" if above else f"at least {low:g}"
    if high < math.inf:
        wanted = f"{wanted} and at most {high:g}" if above else f"between {low:g} and {high:g}"
    raise InputError(
        f"{key}: {value} must be {'' if finite else 'finite and '}{wanted}" + (f", {hint}" if hint else "")
    )


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Refuse a word that is none of those known.

    Args:
        key: name of the setting, such as "loss.form".
        value: what is set.
        choices: what there is; None among them is null.

    Raises:
        InputError: names key, value and choices.
    """
    if value not in choices:
        known = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise InputError(f"{key}: {value!r} is not one of {known}")
