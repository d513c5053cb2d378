"""Size rules by the keys of configurations, and as JSON in the files of exported models."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from crowdcount.errors import InputError
from crowdcount.images.resize import Resize, ShortSide, SizeRule
from crowdcount.images.resize_presets import ResizePreset

SIZE_RULES: Final[dict[str, type[Resize | ShortSide | ResizePreset]]] = {
    "resize": Resize,
    "short_side": ShortSide,
    "resize_preset": ResizePreset,
}
"""Keys of `data` that set a size rule; at most one may be given."""


def rule_as_json(rule: SizeRule | None) -> dict[str, Any] | None:
    """Return a size rule as an object with its key and arguments, such as {"resize": {"min_side": 448, ...}}.

    Raises:
        InputError: the rule is none of `SIZE_RULES`.
    """
    if rule is None:
        return None
    for key, kind in SIZE_RULES.items():
        if isinstance(rule, kind):
            return {key: asdict(rule)}
    raise InputError(f"size rule: {type(rule).__name__} is none of {', '.join(SIZE_RULES)}, which a file can hold")


def rule_from_json(place: str, value: Mapping[str, Any] | None) -> SizeRule | None:
    """Return the size rule of such an object.

    Raises:
        InputError: it is no size rule; the message begins with `place`.
    """
    if value is None:
        return None
    try:
        ((key, arguments),) = value.items()
        return SIZE_RULES[key](**arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # an InputError is a ValueError
        raise InputError(f"{place}: {value!r} is no size rule ({error})") from error
