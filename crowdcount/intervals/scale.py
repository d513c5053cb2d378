"""Scales of count errors: how large an error to expect, from the count and the variance of its blocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError

_FORMS: Final[dict[str, Callable[[float, float, float], float]]] = {
    "constant": lambda count, variance, offset: 1.0,
    "count": lambda count, variance, offset: count + offset,
    "root_count": lambda count, variance, offset: math.sqrt(count + offset),
    "variance": lambda count, variance, offset: math.sqrt(variance + offset),
}


@dataclass(frozen=True)
class Scale:
    """The expected size of an error, up to a factor that calibration finds.

    Args:
        form: constant (1), count (C + offset), root_count (the square root of C + offset), or variance (the square root
            of V + offset), where C is the predicted count and V the sum of the variances of its blocks. Errors of
            blocks are correlated, so V is far below the variance of the count.
        offset: keeps the scale above 0 for images without people; not used by constant.

    Raises:
        InputError: the form is unknown, or the offset is not above 0.

    Example:
        >>> Scale("count", 20)(80.0)
        100.0
    """

    form: str
    offset: float = 1.0

    def __post_init__(self) -> None:
        check_choice("scale", self.form, tuple(_FORMS))
        check_number("scale.offset", self.offset, 0, above=True)

    @property
    def needs_variance(self) -> bool:
        """Whether it is computed from the variance of the blocks."""
        return self.form == "variance"

    def __call__(self, count: float, variance: float | None = None) -> float:
        """Return the scale of a predicted count.

        Args:
            count: predicted count.
            variance: sum of the variances of its blocks; None if the network predicts no distribution.

        Raises:
            InputError: the scale needs a variance, and there is none.
        """
        if self.needs_variance and variance is None:
            raise InputError("scale: variance is for networks that predict a distribution; calibrate with count")
        return _FORMS[self.form](max(count, 0.0), max(variance or 0.0, 0.0), self.offset)


SCALES: Final = (Scale("variance"), Scale("count", 20.0), Scale("root_count"), Scale("constant"))
"""Candidates, the default first; networks without a distribution take the next one."""
