"""Dynamic range: from stored values of any type and range to 8 bits.

A 12-bit camera that writes 16-bit files reaches 1/16 of their range, and a network sees a black image. Neither files
nor arrays state such a range: it is suspected from the largest value, refused, and given by the user.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crowdcount.errors import InputError
from crowdcount.images.warn_once import warn_once

logger = logging.getLogger(__name__)

ValueRange = Sequence[float]
"""Two values: those that become black and white."""

_DARK: Final = 1 / 16
"""Largest value, as part of the range, up to which an image is refused: that of 12 bits in 16."""

_DIM: Final = 1 / 4
"""Largest value, as part of the range, up to which an image is read with a warning: that of 14 bits in 16."""

_DEPTHS: Final = (8, 10, 12, 14, 16)


def check_value_range(value_range: ValueRange | None) -> None:
    """Check that a range of values is null or rises from one finite number to another.

    Raises:
        InputError: if it does not.
    """
    if value_range is None:
        return
    if len(value_range) != 2 or not all(map(math.isfinite, value_range)) or value_range[0] >= value_range[1]:
        given = " ".join(f"{value:g}" for value in value_range)
        raise InputError(f"value_range: {given} should be two numbers that rise, such as 0 4095 for 12 bits")


def to_uint8(values: NDArray[Any], name: str, value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return values as uint8.

    Args:
        values: array of any shape; uint8 is returned unchanged, whatever the range.
        name: file or kind of image, for messages.
        value_range: values that become 0 and 255, those beyond are clipped; with None the whole range of uint16, of
            which the upper eight bits are kept, or [0, 1] for floats.

    Raises:
        InputError: without a range, if the values are of another type, are floats outside [0, 1], or reach only a
            small part of their range; with a range, if they are not real numbers.
    """
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype == np.uint8:
        return values
    if value_range is not None:
        return _scaled(values, name, value_range)
    if values.dtype == np.uint16:
        _check_brightness(name, float(values.max()), "uint16", 2**16 - 1)
        return (values >> 8).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # also where one is NaN
            raise InputError(
                f"{name}: floats should be in [0, 1]; these reach from {low:g} to {high:g}: give uint8, or the values "
                "of black and white as value_range (--range)"
            )
        _check_brightness(name, high, "floats", 1)
        image: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
        return image
    raise InputError(
        f"{name}: holds uint8, uint16 or floats in [0, 1]; got {values.dtype}: convert it, or give the values of black "
        "and white as value_range (--range)"
    )


def _scaled(values: NDArray[Any], name: str, value_range: ValueRange) -> NDArray[np.uint8]:
    check_value_range(value_range)
    low, high = value_range
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole and not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name}: holds {values.dtype}, which are no brightnesses; convert it to numbers")
    if not whole and not np.isfinite(values).all():
        raise InputError(f"{name}: has values that are not finite; replace them")
    # a range of whole numbers is divided into 256 equal parts: 0 to 4095 keeps the upper 8 of 12 bits
    parts = (values - low) * (256 / (high - low + 1)) if whole else np.rint((values - low) * (255 / (high - low)))
    return parts.clip(0, 255).astype(np.uint8)


def _check_brightness(name: str, brightest: float, kind: str, white: float) -> None:
    """Refuse values that reach a small part of their range, and warn of a larger part."""
    part = brightest / white
    if brightest == 0 or part > _DIM:
        return
    text = f"{name}: the brightest of its {kind} is {brightest:g} of {white:g}"
    meant = brightest if white == 1 else next(2**bits - 1 for bits in _DEPTHS if brightest < 2**bits)
    remedy = f"give the values of black and white: value_range=(0, {meant:g}), on the command line --range 0 {meant:g}"
    if part <= _DARK:
        twice = ", as if scaled twice" if white == 1 and part * 255 < 1.001 else ""
        raise InputError(f"{text}{twice}, which would be counted as a black image; {remedy}")
    warn_once(logger, f"{text}, a dark image; if it is not, {remedy}")
